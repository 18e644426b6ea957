// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Generation;

/// <summary>
/// One piece of a streamed answer. The texts of all updates in order are the answer, its reasoning and its calls; within one
/// update reasoning comes before text, and text before calls.
/// </summary>
public sealed record GenerationUpdate
{
    /// <summary>New text of the answer; empty where the update has none. Never half a character.</summary>
    public string Text { get; init; } = "";

    /// <summary>New text of the reasoning; empty where the update has none.</summary>
    public string Reasoning { get; init; } = "";

    /// <summary>New pieces of tool calls, in order; empty where the update has none.</summary>
    public IReadOnlyList<ToolCallPiece> ToolCalls { get; init => field = ValueList<ToolCallPiece>.Of(value); } = ValueList<ToolCallPiece>.Empty;

    /// <summary>The tokens that this update accounts for; text may lag behind them by an unfinished character or a possible stop sequence.</summary>
    public IReadOnlyList<int> Tokens { get; init => field = ValueList<int>.Of(value); } = ValueList<int>.Empty;

    /// <summary>Per token its log-probability, if asked for; else empty.</summary>
    public IReadOnlyList<TokenLogProbability> LogProbabilities { get; init => field = ValueList<TokenLogProbability>.Of(value); } = ValueList<TokenLogProbability>.Empty;

    /// <summary>The whole answer; set in the last update only.</summary>
    public GenerationResult? Result { get; init; }
}
