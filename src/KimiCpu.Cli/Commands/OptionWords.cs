// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.RegularExpressions;

namespace KimiCpu.Cli.Commands;

/// <summary>The library's messages name its properties; a person at the command line knows them by other names.</summary>
internal static partial class OptionWords
{
    private static readonly Dictionary<string, string> s_options = new()
    {
        ["MaxTokens"] = "--tokens",
        ["Temperature"] = "--temperature",
        ["TopK"] = "--top-k",
        ["TopP"] = "--top-p",
        ["MinP"] = "--min-p",
        ["RepetitionPenalty"] = "--repetition-penalty",
        ["PresencePenalty"] = "--presence-penalty",
        ["FrequencyPenalty"] = "--frequency-penalty",
        ["LogitBias"] = "--logit-bias",
        ["StopSequences"] = "--stop",
        ["StopTokens"] = "--stop-token",
        ["IgnoreEndOfText"] = "--ignore-eos",
        ["MaxReasoningTokens"] = "--max-reasoning-tokens",
        ["TopLogProbabilities"] = "--logprobs",
        ["Threads"] = "--threads",
        ["ContextLength"] = "--context",
        ["ExpertMemory"] = "--expert-memory",
        ["Int8HotPath"] = "--int8-hot-path",
        ["PromptCacheDirectory"] = "--prompt-cache",
        ["PromptCacheBytes"] = "--prompt-cache-size",
    };

    /// <param name="message">Of the library.</param>
    /// <param name="parsed">What was asked for; only options of its command are named, and of a server, which has a file too, only those that were typed.</param>
    public static string Translate(string message, ParseResult parsed)
    {
        Command command = parsed.CommandResult.Command;
        HashSet<string> own = [.. command.Options.Where(o => command.Name != ServeCommand.Name || parsed.GetResult(o) is { Implicit: false }).Select(o => o.Name)];
        return PropertyName().Replace(message, m => s_options.TryGetValue(m.Groups["name"].Value, out string? option) && own.Contains(option) ? option : m.Value)
            .Replace(", or null;", ";", StringComparison.Ordinal);
    }

    /// <summary><c>kimi help [COMMAND]</c> and <c>kimi version</c> are what other tools have beside the options of these names.</summary>
    public static string[] WithAliases(string[] args) => args switch
    {
        ["help", .. var command] => [.. command, "--help"],
        ["version"] => ["--version"],
        _ => args,
    };

    /// <summary>What is wrong with an argument that is no number.</summary>
    /// <param name="option">Its option.</param>
    /// <param name="found">The argument.</param>
    /// <returns>Null for options that do not take numbers.</returns>
    public static string? NumberExpected(Option option, string found)
    {
        Type type = TypeOf(option);
        string? expected = IsReal(type) ? "a number" : type == typeof(int) || type == typeof(long) ? "a whole number" : type == typeof(ulong) ? "a whole number of 0 or more" : null;
        return expected is null ? null : $"{option.Name} takes {expected}; found '{found}'.";
    }

    /// <summary>What is wrong with arguments that the parser takes for numbers: it skips commas, so that 0,5 would be 5.</summary>
    public static IEnumerable<string> WrongNumbers(ParseResult parsed) =>
        from result in parsed.CommandResult.Children.OfType<OptionResult>()
        where IsReal(TypeOf(result.Option))
        from token in result.Tokens
        where !double.TryParse(token.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out _)
        select NumberExpected(result.Option, token.Value);

    /// <summary>Words that look like options and are none of the command's: the parser takes the first for the prompt or a file, and complains about what follows.</summary>
    public static string[] UnknownOptions(ParseResult parsed)
    {
        int texts = parsed.Tokens.TakeWhile(t => t.Type != TokenType.DoubleDash).Count();
        HashSet<Token> behind = [.. parsed.Tokens.Skip(texts)];
        IEnumerable<Token> taken = parsed.CommandResult.Children.OfType<ArgumentResult>().SelectMany(a => a.Tokens).Where(t => !behind.Contains(t));
        IEnumerable<string> unknown = taken.Select(t => t.Value).Concat(behind.Count == 0 ? parsed.UnmatchedTokens : []).Where(LooksLikeOption).Distinct();
        string command = parsed.CommandResult.Command is RootCommand ? "kimi" : $"kimi {parsed.CommandResult.Command.Name}";
        return [.. unknown.Select(o => $"'{o}' is no option of `{command}`; a text that begins like one is written behind `--`.")];
    }

    private static bool LooksLikeOption(string word) => word.Length > 2 && word.StartsWith("--", StringComparison.Ordinal) && char.IsAsciiLetter(word[2]);

    private static Type TypeOf(Option option)
    {
        Type type = option.ValueType.GetElementType() ?? option.ValueType;
        return Nullable.GetUnderlyingType(type) ?? type;
    }

    private static bool IsReal(Type type) => type == typeof(float) || type == typeof(double);

    /// <summary>Words that English has too are names only where a range follows.</summary>
    [GeneratedRegex(@"\b(?:KimiModelOptions\.)?(?<name>(?:[A-Z][a-z0-9]*){2,}\b|(?:Temperature|Threads)(?= takes ))")]
    private static partial Regex PropertyName();
}
