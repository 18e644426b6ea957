// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Makes of one message those of the model, in the order of its contents: a result is a message of its own, whatever role it comes under, and so
/// is what was said before it and what was said after it. Text beside the results of a tool's message belongs to one of them, since by itself it would answer another call.
/// </summary>
/// <param name="empty">The message without its contents.</param>
internal sealed class MessageParts(KimiMessage empty)
{
    private readonly List<KimiMessage> _messages = [];
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _reasoning = new();
    private readonly List<KimiToolCall> _calls = [];

    private bool IsBesideResult => empty.Role == KimiRole.Tool && _messages.Count > 0;

    public void AddText(string text) => _text.Append(text);

    public void AddReasoning(string text) => _reasoning.Append(text);

    public void AddCall(KimiToolCall call) => _calls.Add(call);

    public void AddResult(KimiMessage result)
    {
        if (IsBesideResult)
        {
            EndResult();
        }
        else if (empty.Role == KimiRole.Tool && _text.Length > 0)
        {
            result = result with { Content = $"{_text}\n{result.Content}" };
            _text.Clear();
        }

        EndMessage();
        _messages.Add(result);
    }

    /// <summary>The messages; at least one.</summary>
    public IReadOnlyList<KimiMessage> End()
    {
        if (IsBesideResult)
        {
            EndResult();
        }

        EndMessage();
        return _messages.Count > 0 ? _messages : [empty];
    }

    /// <summary>Adds the text after a result to it.</summary>
    private void EndResult()
    {
        if (_text.Length > 0)
        {
            _messages[^1] = _messages[^1] with { Content = $"{_messages[^1].Content}\n{_text}" };
            _text.Clear();
        }
    }

    private void EndMessage()
    {
        if (_text.Length == 0 && _reasoning.Length == 0 && _calls.Count == 0)
        {
            return;
        }

        _messages.Add(empty with
        {
            Content = _text.ToString(),
            Reasoning = _reasoning.Length > 0 ? _reasoning.ToString() : null,
            ToolCalls = [.. _calls],
        });
        _text.Clear();
        _reasoning.Clear();
        _calls.Clear();
    }
}
