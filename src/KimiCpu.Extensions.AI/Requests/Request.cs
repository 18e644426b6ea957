// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>A call in the model's own terms.</summary>
/// <param name="Messages">The conversation.</param>
/// <param name="Options">For the model, as far as they do not depend on its tokens or the format.</param>
/// <param name="Format">What the answer is held to; null for what the options say.</param>
/// <param name="ShowsReasoning">Whether the caller wants to see the reasoning.</param>
/// <param name="SingleToolCall">Whether the answer ends with its first tool call.</param>
internal sealed record Request(IReadOnlyList<KimiMessage> Messages, GenerationOptions Options, ChatResponseFormat? Format, bool ShowsReasoning, bool SingleToolCall)
{
    /// <summary>Keys of <see cref="ChatOptions.AdditionalProperties"/> that are somebody else's.</summary>
    public IReadOnlyList<string> SkippedKeys { get; init; } = [];

    /// <summary>The options for a model.</summary>
    public GenerationOptions For(IKimiModel model) => SingleToolCall && model.Tokenizer.TryGetSpecialToken("<|tool_call_end|>", out int end)
        ? Options with { StopTokens = [.. Options.StopTokens, end] }
        : Options;
}
