// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Text;
using KimiCpu.Chat;
using KimiCpu.Constraints;

namespace KimiCpu.Generation;

/// <summary>Checks options once, at the border, with the range in the message.</summary>
internal static class OptionChecks
{
    /// <summary>Refuses null where there has to be something, before anybody looks into it.</summary>
    /// <exception cref="ArgumentNullException">An option is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An element of one is null.</exception>
    public static void RequireAll(GenerationOptions options)
    {
        const string List = "a list, empty for none";
        OptionRange.RequireGiven(options.StopSequences, nameof(options.StopSequences), List);
        OptionRange.RequireGiven(options.StopTokens, nameof(options.StopTokens), List);
        OptionRange.RequireGiven(options.Tools, nameof(options.Tools), List);
        OptionRange.Require(options.Tools.All(t => t is not null), nameof(options.Tools), null, "a KimiTool each");
        OptionRange.RequireGiven(options.ToolChoice, nameof(options.ToolChoice), "Auto, None, Required or Named");
    }

    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    /// <exception cref="ArgumentException">Options exclude each other.</exception>
    public static void Validate(GenerationOptions options, int vocabulary)
    {
        OptionRange.Require(options.Temperature is >= 0 and <= 100, nameof(options.Temperature), options.Temperature, "0 … 100");
        OptionRange.Require(options.TopK is null or >= 0, nameof(options.TopK), options.TopK, "0 or more, or null");
        OptionRange.Require(options.TopP is > 0 and <= 1, nameof(options.TopP), options.TopP, "above 0, at most 1");
        OptionRange.Require(options.MinP is >= 0 and < 1, nameof(options.MinP), options.MinP, "at least 0, below 1");
        OptionRange.Require(options.RepetitionPenalty is > 0 and <= 10, nameof(options.RepetitionPenalty), options.RepetitionPenalty, "above 0, at most 10");
        OptionRange.Require(options.PresencePenalty is >= -2 and <= 2, nameof(options.PresencePenalty), options.PresencePenalty, "-2 … 2");
        OptionRange.Require(options.FrequencyPenalty is >= -2 and <= 2, nameof(options.FrequencyPenalty), options.FrequencyPenalty, "-2 … 2");
        OptionRange.Require(options.MaxTokens is null or >= 1, nameof(options.MaxTokens), options.MaxTokens, "1 or more, or null");
        OptionRange.Require(options.MaxReasoningTokens is null or >= 0, nameof(options.MaxReasoningTokens), options.MaxReasoningTokens, "0 or more, or null");
        OptionRange.Require(options.TopLogProbabilities is >= 0 and <= 20, nameof(options.TopLogProbabilities), options.TopLogProbabilities, "0 … 20");
        OptionRange.Require(options.TopLogProbabilities == 0 || options.LogProbabilities, nameof(options.TopLogProbabilities), options.TopLogProbabilities, "more than 0 with LogProbabilities only");
        RequireEnd(options);
        RequireCallable(options);
        foreach (string stop in options.StopSequences)
        {
            OptionRange.Require(!string.IsNullOrEmpty(stop), nameof(options.StopSequences), stop is null ? null : "''", "texts of at least one character");
            OptionRange.Require(IsWellFormed(stop), nameof(options.StopSequences), "half of one", "texts whose surrogate pairs have both halves");
        }

        foreach (int token in options.StopTokens)
        {
            OptionRange.Require(token >= 0 && token < vocabulary, nameof(options.StopTokens), token, Ids(vocabulary));
        }

        foreach ((int token, float bias) in options.LogitBias ?? new Dictionary<int, float>())
        {
            OptionRange.Require(token >= 0 && token < vocabulary, nameof(options.LogitBias), token, Ids(vocabulary));
            OptionRange.Require(float.IsFinite(bias) || float.IsNegativeInfinity(bias), nameof(options.LogitBias), bias, "finite numbers or negative infinity");
        }
    }

    /// <summary>How many there are may not be known yet.</summary>
    private static string Ids(int vocabulary) => vocabulary == int.MaxValue ? "token ids of at least 0" : $"token ids 0 … {vocabulary - 1}";

    /// <summary>Half of a surrogate pair would be found in the middle of a character.</summary>
    private static bool IsWellFormed(ReadOnlySpan<char> text)
    {
        while (Rune.DecodeFromUtf16(text, out _, out int consumed) == OperationStatus.Done)
        {
            text = text[consumed..];
        }

        return text.IsEmpty;
    }

    /// <exception cref="ArgumentException">Options exclude each other.</exception>
    private static void RequireEnd(GenerationOptions options)
    {
        if (options.Constraint is not null && options.IgnoreEndOfText)
        {
            throw CallArgument.Options("A Constraint ends its answer by an end-of-text token, so IgnoreEndOfText must be false with it.");
        }
    }

    /// <summary>What <see cref="ToolCallConstraint"/> cannot be made of, before anybody encodes a prompt or compiles a schema for it.</summary>
    /// <exception cref="ArgumentException">A call is demanded of a tool that is not declared, or two tools that may be called have one name.</exception>
    private static void RequireCallable(GenerationOptions options)
    {
        (ToolChoiceKind kind, string? name) = (options.ToolChoice.Kind, options.ToolChoice.Name);
        if (kind == ToolChoiceKind.Named && !options.Tools.Any(t => t.Name == name))
        {
            throw CallArgument.Options($"A call of the tool '{Excerpt.Of(name!)}' is demanded, which is not declared.");
        }

        if (kind == ToolChoiceKind.Required && options.Tools.Count == 0)
        {
            throw CallArgument.Options("A tool call is demanded, but no tool is declared.");
        }

        // Where any text may be a call, or none is to be, names are only shown.
        IEnumerable<KimiTool> callable = kind switch
        {
            ToolChoiceKind.None => [],
            ToolChoiceKind.Auto when !options.ConstrainToolArguments => [],
            ToolChoiceKind.Named => options.Tools.Where(t => t.Name == name),
            _ => options.Tools,
        };
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (callable.FirstOrDefault(t => !names.Add(t.Name)) is { } second)
        {
            throw CallArgument.Options($"Two tools are called '{Excerpt.Of(second.Name)}'.");
        }
    }
}
