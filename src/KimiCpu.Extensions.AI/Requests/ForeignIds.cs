// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Gives calls whose ids come from other providers the ids that the models are trained on, <c>functions.NAME:IDX</c> with the
/// call's place in the conversation or, where its beginning was left out, behind the calls before; and their results the same.
/// </summary>
internal sealed class ForeignIds
{
    private readonly OpenCalls _open = new();
    private readonly CallCounter _counter = new();

    /// <summary>Whether there is a call without a result.</summary>
    public bool HasOpen => _open.Count > 0;

    /// <summary>The calls of one turn as they are shown.</summary>
    public IReadOnlyList<KimiToolCall> Called(IEnumerable<KimiToolCall> turn)
    {
        _open.BeginTurn();
        return [.. turn.Select(Called)];
    }

    /// <summary>The id as shown of the call that a result answers; null where no open one was given, or is shown, with its id: clients may leave out the ids of calls alone.</summary>
    /// <param name="id">As the result gives it.</param>
    public string? Answered(string id) => _open.AnswerGiven(id) ?? _open.AnswerShown(id);

    /// <summary>The same for a result that only its tool tells of: of a call of this tool, else of any; null where there is none.</summary>
    /// <param name="name">Of the tool; null where the result does not name it.</param>
    public string? AnsweredNext(string? name) => (name is null ? null : _open.AnswerNamed(name)) ?? _open.AnswerAny();

    private KimiToolCall Called(KimiToolCall call)
    {
        KimiToolCall shown = CallCounter.HasOwnId(call) ? call : call with { Id = CallIds.Of(call.Name, _counter.Next) };
        _open.Add(call, shown.Id);
        _counter.Add(shown);
        return shown;
    }
}
