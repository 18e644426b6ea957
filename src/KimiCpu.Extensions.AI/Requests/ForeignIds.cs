// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Gives calls whose ids come from other providers the ids that the models are trained on, <c>functions.NAME:IDX</c> with the
/// call's place in the conversation, and their results the same.
/// </summary>
internal sealed class ForeignIds
{
    private readonly List<(string Given, string Shown)> _open = [];
    private int _count;

    /// <summary>A call as it is shown.</summary>
    public KimiToolCall Called(KimiToolCall call)
    {
        string prefix = $"functions.{call.Name}:";
        bool own = call.Id.StartsWith(prefix, StringComparison.Ordinal) && call.Id.Length > prefix.Length && call.Id.AsSpan(prefix.Length).IndexOfAnyExceptInRange('0', '9') < 0;
        KimiToolCall shown = own ? call : call with { Id = $"{prefix}{_count}" };
        _open.Add((call.Id, shown.Id));
        _count++;
        return shown;
    }

    /// <summary>The id as shown of the call that a result answers: the first with this id that is not answered.</summary>
    public string Answered(string id)
    {
        int at = _open.FindIndex(c => c.Given == id);
        if (at < 0)
        {
            return id;
        }

        string shown = _open[at].Shown;
        _open.RemoveAt(at);
        return shown;
    }
}
