// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>The ids of a conversation's tool calls as they are shown, and which result belongs to which.</summary>
internal sealed class CallIds
{
    private readonly bool _rewrites;
    private readonly OpenCalls _open = new();
    private int _count;

    /// <param name="rewrites">Whether every call gets an id by its place, or only one without an id.</param>
    public CallIds(bool rewrites) => _rewrites = rewrites;

    /// <summary>The id that models are trained on.</summary>
    /// <param name="name">Of the tool.</param>
    /// <param name="index">Place among the calls of the conversation, from 0.</param>
    public static string Of(string name, int index) => $"functions.{name}:{index}";

    /// <summary>The next calls are of another turn than those before.</summary>
    public void BeginTurn() => _open.BeginTurn();

    /// <summary>The id of the next call.</summary>
    public string Next(KimiToolCall call)
    {
        string shown = _rewrites || call.Id.Length == 0 ? Of(call.Name, _count) : call.Id;
        _open.Add(call, shown);
        _count++;
        return shown;
    }

    /// <summary>The id of the call that a message answers: one that was given as the message names it, and none that is only shown so, else any.</summary>
    /// <param name="message">Of a tool.</param>
    /// <param name="place">Of the message, for the exception.</param>
    /// <exception cref="ArgumentException">It names none and all are answered.</exception>
    public string Answered(KimiMessage message, string place) => message.ToolCallId is { Length: > 0 } named
        ? _open.AnswerGiven(named) ?? _open.AnswerShown(named) ?? named
        : _open.AnswerAny() ?? throw CallArgument.Messages($"{place} is a tool's and names no call in ToolCallId, and every call before it is answered.");
}
