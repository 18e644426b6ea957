// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Tokens;

namespace KimiCpu.Chat;

/// <summary>
/// What a checkpoint's own <c>chat_template.jinja</c> (or the template in <c>tokenizer_config.json</c>) does, as far as the
/// releases of the family differ. The renderer is written by hand; templates are looked at, never executed.
/// </summary>
internal sealed partial record ChatFormat
{
    private const string TemplateFile = "chat_template.jinja";
    private const string NoReasoning = "<think></think>";

    /// <summary>Put before a conversation that does not begin with a system message; null for none.</summary>
    public string? DefaultSystemPrompt { get; init; }

    /// <summary>Whether earlier answers carry an empty reasoning (K2 Thinking and later).</summary>
    public bool MarksReasoning { get; init; }

    /// <summary>Whether the generation prompt opens the reasoning, or closes it at once when thinking is off (K2.5 and later).</summary>
    public bool OpensReasoning { get; init; }

    /// <summary>The format of a checkpoint; plain turns without any of these where it has no template.</summary>
    public static ChatFormat Of(CheckpointFiles files)
    {
        string? template = files.Exists(TemplateFile)
            ? System.Text.Encoding.UTF8.GetString(files.ReadAll(TemplateFile, 1 << 20))
            : TemplateInConfig(files);
        return template is null ? new ChatFormat() : OfTemplate(template);
    }

    public static ChatFormat OfTemplate(string template)
    {
        int generation = template.LastIndexOf("add_generation_prompt", StringComparison.Ordinal);
        Match system = DefaultSystemMessage().Match(template);
        return new ChatFormat
        {
            DefaultSystemPrompt = system.Success ? system.Groups[1].Value : null,
            MarksReasoning = template.Contains(NoReasoning, StringComparison.Ordinal),
            OpensReasoning = generation >= 0 && template.AsSpan(generation).Contains("<think>", StringComparison.Ordinal),
        };
    }

    private static string? TemplateInConfig(CheckpointFiles files)
    {
        if (!files.Exists(KimiTokenizer.ConfigFile))
        {
            return null;
        }

        return files.ReadJson(KimiTokenizer.ConfigFile, root =>
            root.ValueKind == JsonValueKind.Object && root.TryGetProperty("chat_template", out JsonElement template) && template.ValueKind == JsonValueKind.String
                ? template.GetString()
                : null);
    }

    /// <summary>A system message that the template spells out.</summary>
    [GeneratedRegex(@"<\|im_system\|>system<\|im_middle\|>([^<{}'""]+)<\|im_end\|>")]
    private static partial Regex DefaultSystemMessage();
}
