// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>How long a prompt is, for who says so before there is an answer.</summary>
internal static class PromptCount
{
    /// <summary>The same options, which tell how many tokens the prompt has as soon as that is known, so that nobody has to encode it again.</summary>
    /// <param name="options">Of the call.</param>
    /// <param name="count">Told, before the call begins.</param>
    public static GenerationOptions CountingPrompt(this GenerationOptions options, Action<int> count) => options with { PromptCounted = count };
}
