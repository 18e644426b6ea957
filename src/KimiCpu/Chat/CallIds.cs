// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>The ids of a conversation's tool calls as they are shown, and which result belongs to which.</summary>
internal sealed class CallIds
{
    private readonly bool _rewrites;
    private readonly List<(string Given, string Shown, int Turn)> _open = [];
    private int _count;
    private int _turn;

    /// <param name="rewrites">Whether every call gets an id by its place, or only one without an id.</param>
    public CallIds(bool rewrites) => _rewrites = rewrites;

    /// <summary>The id that models are trained on.</summary>
    /// <param name="name">Of the tool.</param>
    /// <param name="index">Place among the calls of the conversation, from 0.</param>
    public static string Of(string name, int index) => $"functions.{name}:{index}";

    /// <summary>The next calls are of another turn than those before.</summary>
    public void BeginTurn() => _turn++;

    /// <summary>The id of the next call.</summary>
    public string Next(KimiToolCall call)
    {
        string shown = _rewrites || call.Id.Length == 0 ? Of(call.Name, _count) : call.Id;
        _open.Add((call.Id, shown, _turn));
        _count++;
        return shown;
    }

    /// <summary>
    /// The id of the call that a message answers: the one it names, else the first that is not answered. Where several have the name, as from
    /// clients that count each turn anew, it is one of the latest turn, and none that is only shown with it.
    /// </summary>
    /// <param name="message">Of a tool.</param>
    /// <param name="place">Of the message, for the exception.</param>
    /// <exception cref="ArgumentException">It names none and all are answered.</exception>
    public string Answered(KimiMessage message, string place)
    {
        string? named = message.ToolCallId is { Length: > 0 } id ? id : null;
        int latest = _open.FindLast(c => c.Given == named).Turn;
        int at = named is null ? Math.Min(0, _open.Count - 1)
            : _open.FindIndex(c => c.Given == named && c.Turn == latest) is >= 0 and int given ? given
            : _open.FindIndex(c => c.Shown == named);
        if (at < 0)
        {
            return named ?? throw CallArgument.Messages($"{place} is a tool's and names no call in ToolCallId, and every call before it is answered.");
        }

        string shown = _open[at].Shown;
        _open.RemoveAt(at);
        return shown;
    }
}
