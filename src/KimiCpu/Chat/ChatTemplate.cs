// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>
/// Reads from a checkpoint folder which format its chats have. Templates are looked at, never executed: the renderer is
/// written by hand, and a template that writes anything which it does not gets the nearest format and a warning.
/// </summary>
internal static partial class ChatTemplate
{
    private const string TemplateFile = "chat_template.jinja";
    private const string TypeScriptFile = "tool_declaration_ts.py";
    private const string TokenizerCode = "tokenization_kimi.py";
    private const string NoReasoning = "<think></think>";
    private const string ConfigField = "chat_template";

    /// <summary>How long looking at a template takes grows with its square: at this length it is seconds.</summary>
    private const int MaxFileBytes = 1 << 17;

    /// <summary>What every template of the family writes.</summary>
    private static readonly string[] s_required =
    [
        "<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>", "tool_declare", "## Return of",
        "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|tool_calls_section_end|>",
        "add_generation_prompt",
    ];

    /// <summary>Texts between control tokens that the renderer writes too, or that stand for images.</summary>
    private static readonly HashSet<string> s_known = ["system", "user", "assistant", "tool", "tool_declare", "image", "video", "## Return of"];

    /// <summary>The format of a checkpoint, and what is doubtful about it; null where nothing is.</summary>
    public static (ChatFormat Format, string? Doubt) Read(CheckpointFiles files)
    {
        string? template = Text(files, TemplateFile) ?? TemplateInConfig(files);
        if (template is null)
        {
            return (new ChatFormat(), $"{files.PathOf(TemplateFile)} does not exist: chats are rendered as plain turns of Kimi K2, without a default system prompt and without reasoning. Fetch it, if the model's release has it.");
        }

        (ChatFormat format, string? doubt) = ReadTemplate(template);
        bool typeScript = files.Exists(TypeScriptFile);
        bool sorts = typeScript || Text(files, TokenizerCode)?.Contains("deep_sort", StringComparison.Ordinal) == true;
        if (!typeScript && template.Contains("tools_ts_str", StringComparison.Ordinal))
        {
            doubt ??= $"the template declares tools in TypeScript where {TypeScriptFile} is, but there is none: they are declared as JSON. Fetch it, if the model's release has it.";
        }

        return (format with { TypeScriptTools = typeScript, SortsToolKeys = sorts }, doubt is null ? null : $"{files.PathOf(TemplateFile)}: {doubt}");
    }

    /// <summary>The format as far as a template alone tells it.</summary>
    public static (ChatFormat Format, string? Doubt) ReadTemplate(string template)
    {
        int generation = template.LastIndexOf("add_generation_prompt", StringComparison.Ordinal);
        string turns = generation < 0 ? template : template[..generation];
        string opening = generation < 0 ? "" : template[generation..];
        string[] prompts = [.. DefaultSystemMessage().Matches(template).Select(m => m.Groups[1].Value).Distinct()];
        bool dropsReasoning = turns.Contains(NoReasoning, StringComparison.Ordinal);
        bool marksReasoning = dropsReasoning || turns.Contains("<think>", StringComparison.Ordinal);
        bool canPreserve = template.Contains("preserve_thinking", StringComparison.Ordinal);
        var format = new ChatFormat
        {
            DefaultSystemPrompt = prompts.FirstOrDefault(),
            MarksReasoning = marksReasoning,
            OpensReasoning = opening.Contains("<think>", StringComparison.Ordinal),
            CanSkipReasoning = opening.Contains("</think>", StringComparison.Ordinal),
            History = (marksReasoning, dropsReasoning, canPreserve) switch
            {
                (true, false, _) => ReasoningHistory.Kept,
                (true, true, true) => ReasoningHistory.OnRequest,
                _ => ReasoningHistory.Dropped,
            },
            RewritesCallIds = template.Contains("'functions.'", StringComparison.Ordinal) && !CallId().IsMatch(template),
        };
        return (format, Doubt(template, prompts));
    }

    private static string? Doubt(string template, string[] prompts)
    {
        string[] missing = [.. s_required.Where(r => !template.Contains(r, StringComparison.Ordinal))];
        string[] unknown = [.. WrittenTexts(template).Where(t => !s_known.Contains(t) && !prompts.Contains(t)).Distinct()];
        const string Nearest = "the nearest known format is used. `kimi render` shows what the model sees.";
        return (missing, unknown, prompts.Length) switch
        {
            ({ Length: > 0 }, _, _) => $"the template is not one of the known ones, it lacks {string.Join(", ", missing)}; {Nearest}",
            (_, { Length: > 0 }, _) => $"the template is not one of the known ones, it writes '{unknown[0]}'; {Nearest}",
            (_, _, > 1) => $"the template has {prompts.Length} default system prompts; the first one is used.",
            _ => null,
        };
    }

    /// <summary>What a template writes between control tokens, whatever its conditions are.</summary>
    private static IEnumerable<string> WrittenTexts(string template)
    {
        // Texts in expressions are keys, arguments of filters, or pieces of turns; only the last have control tokens.
        IEnumerable<string> quoted = Expression().Matches(template)
            .SelectMany(e => QuotedText().Matches(e.Value)).Select(q => q.Groups[1].Value).Where(q => q.Contains('<', StringComparison.Ordinal));
        return Tag().Split(template).Concat(quoted)
            .SelectMany(text => ControlToken().Split(text)).Select(text => text.Trim()).Where(text => text.Length > 0);
    }

    private static string? Text(CheckpointFiles files, string file) =>
        files.Exists(file) ? Encoding.UTF8.GetString(files.ReadAll(file, MaxFileBytes)) : null;

    private static string? TemplateInConfig(CheckpointFiles files)
    {
        if (!files.Exists(KimiTokenizer.ConfigFile))
        {
            return null;
        }

        string? template = files.ReadJson(KimiTokenizer.ConfigFile, root =>
            root.ValueKind == JsonValueKind.Object && root.TryGetProperty(ConfigField, out JsonElement field) && field.ValueKind == JsonValueKind.String
                ? field.GetString()
                : null);
        return template is { Length: > MaxFileBytes }
            ? throw new CheckpointException(files.PathOf(KimiTokenizer.ConfigFile), ConfigField, $"Expected at most {MaxFileBytes:N0} characters, found {template.Length:N0}.")
            : template;
    }

    /// <summary>A system message that the template spells out.</summary>
    [GeneratedRegex(@"<\|im_system\|>system<\|im_middle\|>([^<{}]+)<\|im_end\|>")]
    private static partial Regex DefaultSystemMessage();

    /// <summary>The id of a message's call.</summary>
    [GeneratedRegex(@"tool_call(\['id'\]|\[""id""\]|\.id\b)")]
    private static partial Regex CallId();

    [GeneratedRegex(@"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", RegexOptions.Singleline)]
    private static partial Regex Tag();

    [GeneratedRegex(@"\{\{.*?\}\}", RegexOptions.Singleline)]
    private static partial Regex Expression();

    [GeneratedRegex(@"['""](.*?)['""]", RegexOptions.Singleline)]
    private static partial Regex QuotedText();

    [GeneratedRegex(@"<\|\w+\|>|</?think>")]
    private static partial Regex ControlToken();
}
