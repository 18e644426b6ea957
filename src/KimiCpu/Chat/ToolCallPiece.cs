// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>A piece of a streamed tool call: first <see cref="ToolCallBegun"/>, then any number of <see cref="ToolCallArguments"/>, then <see cref="ToolCallEnded"/>. Calls follow one another and never mix.</summary>
/// <param name="Index">Place among the calls of the answer, from 0.</param>
public abstract record ToolCallPiece(int Index);

/// <summary>A call begins.</summary>
/// <param name="Index">Place among the calls of the answer, from 0.</param>
/// <param name="Id">Names the call in the conversation; see <see cref="KimiToolCall.Id"/>.</param>
/// <param name="Name">Which tool. It may be one that was not declared.</param>
public sealed record ToolCallBegun(int Index, string Id, string Name) : ToolCallPiece(Index);

/// <summary>More of a call's arguments.</summary>
/// <param name="Index">Place among the calls of the answer, from 0.</param>
/// <param name="Text">JSON text; the pieces of a call add up to <see cref="KimiToolCall.Arguments"/>.</param>
public sealed record ToolCallArguments(int Index, string Text) : ToolCallPiece(Index);

/// <summary>A call ends.</summary>
/// <param name="Index">Place among the calls of the answer, from 0.</param>
/// <param name="Call">The whole call.</param>
/// <param name="IsComplete">False where the answer ended before the call did and its arguments are not JSON yet: it must not be carried out.</param>
public sealed record ToolCallEnded(int Index, KimiToolCall Call, bool IsComplete) : ToolCallPiece(Index);
