// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>What a person should know of an answer that did not come to its end.</summary>
internal static class CutNotice
{
    /// <param name="result">The answer.</param>
    /// <param name="options">With which it was asked for.</param>
    /// <param name="context">Tokens of the context.</param>
    /// <returns>Null where the answer is whole.</returns>
    public static string? Of(GenerationResult result, GenerationOptions options, int context)
    {
        if (result.FinishReason != FinishReason.Length)
        {
            return null;
        }

        string where = result.Usage.CompletionTokens == options.MaxTokens
            ? $"--tokens {options.MaxTokens} cut it off"
            : string.Create(CultureInfo.InvariantCulture, $"the context of {context:N0} tokens is full");
        string remedy = result.Text.Length == 0 && result.Usage.ReasoningTokens > 0
            ? $" It is all reasoning: --max-reasoning-tokens N leaves room for an answer{(options.Thinking ? ", --no-think leaves it away where the model can" : "")}."
            : "";
        return $"The answer is not whole: {where}.{remedy}";
    }
}
