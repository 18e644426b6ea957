// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Turns <see cref="ReasoningOptions"/> into a budget, since the models know no levels of effort.</summary>
internal static class ReasoningReader
{
    private const int LowBudget = 1024;
    private const int MediumBudget = 8192;

    /// <exception cref="NotSupportedException">A summary is asked for.</exception>
    public static GenerationOptions Read(ReasoningOptions? reasoning, GenerationOptions generation)
    {
        if (reasoning?.Output is { } output and not (ReasoningOutput.None or ReasoningOutput.Full))
        {
            throw new NotSupportedException($"ChatOptions.Reasoning.Output ({output}): reasoning is returned as the model wrote it, or not at all. Use Full or None.");
        }

        return reasoning?.Effort switch
        {
            null => generation,
            ReasoningEffort.None => Switch(generation, on: false),
            ReasoningEffort.Low => generation with { Thinking = true, MaxReasoningTokens = LowBudget },
            ReasoningEffort.Medium => generation with { Thinking = true, MaxReasoningTokens = MediumBudget },
            ReasoningEffort.High or ReasoningEffort.ExtraHigh => generation with { Thinking = true, MaxReasoningTokens = null },
            { } effort => throw new NotSupportedException($"ChatOptions.Reasoning.Effort ({effort}): use None, Low, Medium, High or ExtraHigh."),
        };
    }

    /// <summary>Reasoning as far as it is allowed, or none: where the template cannot skip it, it is closed where it begins.</summary>
    public static GenerationOptions Switch(GenerationOptions generation, bool on) => on
        ? generation with { Thinking = true, MaxReasoningTokens = generation.MaxReasoningTokens is 0 ? null : generation.MaxReasoningTokens }
        : generation with { Thinking = false, MaxReasoningTokens = 0 };
}
