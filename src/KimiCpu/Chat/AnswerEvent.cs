// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>A piece of an answer.</summary>
internal abstract record AnswerEvent;

/// <param name="Text">More of the reasoning.</param>
internal sealed record ReasoningText(string Text) : AnswerEvent;

/// <param name="Text">More of the content.</param>
internal sealed record ContentText(string Text) : AnswerEvent;

/// <param name="Piece">Of a tool call.</param>
internal sealed record CallEvent(ToolCallPiece Piece) : AnswerEvent;
