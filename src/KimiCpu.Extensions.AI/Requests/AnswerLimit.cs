// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Limits of answers, for the server, which sees no internals of the model's.</summary>
internal static class AnswerLimit
{
    /// <summary>The same options where nobody insists on <see cref="GenerationOptions.MaxTokens"/>: the answer has fewer tokens where there is less room.</summary>
    public static GenerationOptions TakingFewerTokens(this GenerationOptions options) => options with { TakesFewerTokens = true };
}
