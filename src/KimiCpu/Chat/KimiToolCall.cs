// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>A call of a tool by the model.</summary>
/// <param name="Id">Names the call in the conversation, normally <c>functions.NAME:IDX</c>; the result's message repeats it in <see cref="KimiMessage.ToolCallId"/>. Empty for an id by position.</param>
/// <param name="Name">Which tool.</param>
/// <param name="Arguments">JSON text exactly as the model wrote it, <c>{}</c> where it wrote nothing. Models may write what is no JSON.</param>
public sealed record KimiToolCall(string Id, string Name, string Arguments);
