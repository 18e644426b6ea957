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
    private readonly List<(string Given, string Name, string Shown)> _open = [];
    private readonly CallCounter _counter = new();

    /// <summary>A call as it is shown.</summary>
    public KimiToolCall Called(KimiToolCall call)
    {
        KimiToolCall shown = CallCounter.HasOwnId(call) ? call : call with { Id = CallIds.Of(call.Name, _counter.Next) };
        _open.Add((call.Id, call.Name, shown.Id));
        _counter.Add(shown);
        return shown;
    }

    /// <summary>The id as shown of the call that a result answers: the first with this id that is not answered.</summary>
    public string Answered(string id) => Take(_open.FindIndex(c => c.Given == id)) ?? id;

    /// <summary>The same for a result without an id: the first call of this tool that is not answered, else the first of all; empty where there is none.</summary>
    /// <param name="name">Of the tool; null where the result does not name it.</param>
    public string AnsweredNext(string? name) => Take(Math.Max(0, _open.FindIndex(c => c.Name == name))) ?? "";

    private string? Take(int at)
    {
        if (at < 0 || at >= _open.Count)
        {
            return null;
        }

        string shown = _open[at].Shown;
        _open.RemoveAt(at);
        return shown;
    }
}
