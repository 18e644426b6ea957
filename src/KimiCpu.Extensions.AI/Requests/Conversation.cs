// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// A conversation as it is put together. One turn of the model may come back in several messages, since the approval of functions parts a call from
/// the reasoning before it, and other providers give each item by itself. They become one turn again: the model would read turns that it never wrote, and
/// those without calls would end what is shown of its reasoning. Calls and results with ids of other providers get those that the models know.
/// </summary>
internal sealed class Conversation
{
    private readonly List<KimiMessage> _messages = [];
    private readonly ForeignIds _ids = new();

    /// <summary>What the model said, while more of it may follow; not among the messages yet. Its reasoning and its calls, which may come in thousands of pieces, are beside it.</summary>
    private KimiMessage? _turn;
    private readonly StringBuilder _reasoning = new();
    private readonly List<KimiToolCall> _calls = [];
    private string? _author;
    private object? _answer;

    /// <summary>Whether there is a call without a result.</summary>
    public bool HasOpenCall => _calls.Count > 0 || _ids.HasOpen;

    /// <param name="message">The next one; ids are those of its client. A tool's without an id answers the next call.</param>
    /// <param name="author">Who said it: what several agents said is not joined.</param>
    /// <param name="answer">What is equal in all messages of one answer, and differs in those of two, which are not joined; null where nobody knows.</param>
    public void Add(KimiMessage message, string? author = null, object? answer = null)
    {
        if (message.Role == KimiRole.Tool)
        {
            AddResult(message, tool: null);
            return;
        }

        if (message.Role != KimiRole.Assistant)
        {
            EndTurn();
            _messages.Add(message);
            return;
        }

        if (author != _author || (_answer is not null && answer is not null && !answer.Equals(_answer)) || !Continues(message))
        {
            EndTurn();
        }

        _author = author;
        _answer = answer ?? _answer;
        _turn = _turn is { } turn
            ? turn with { Content = turn.Content + message.Content, GeneratedTokens = turn.GeneratedTokens ?? message.GeneratedTokens }
            : message with { Reasoning = null, ToolCalls = [] };
        _reasoning.Append(message.Reasoning);
        _calls.AddRange(message.ToolCalls);
    }

    /// <summary>Adds a result of clients that tell results by their tools. One without an id, or with an id that no open call has, answers the next call of its tool, else the next of any.</summary>
    /// <param name="message">Of the tool.</param>
    /// <param name="tool">Its name, which may be empty; null where only ids tell results.</param>
    public void AddResult(KimiMessage message, string? tool)
    {
        EndTurn();
        string id = message.ToolCallId ?? "";
        string? answered = id.Length > 0 ? _ids.Answered(id) : null;
        answered ??= id.Length == 0 || tool is not null ? _ids.AnsweredNext(tool) : null;
        _messages.Add(message with { ToolCallId = answered ?? id });
    }

    /// <summary>The whole conversation; nothing is added after it.</summary>
    public IReadOnlyList<KimiMessage> End()
    {
        EndTurn();
        return _messages;
    }

    /// <summary>Calls go with whatever is before them; text and reasoning only with reasoning, since behind a text or a call they begin another answer.</summary>
    private bool Continues(KimiMessage message) =>
        (_turn is { Content.Length: 0 } && _calls.Count == 0) || message is { Content.Length: 0, Reasoning: null or "", ToolCalls.Count: > 0 };

    private void EndTurn()
    {
        if (_turn is { } turn)
        {
            _messages.Add(turn with { Reasoning = _reasoning.Length > 0 ? _reasoning.ToString() : null, ToolCalls = _ids.Called(_calls) });
            _turn = null;
            _answer = null;
            _reasoning.Clear();
            _calls.Clear();
        }
    }
}
