// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>
/// The calls of a conversation that have no result yet. Where a result may mean several it answers one of the latest turn that has any, and in
/// that turn the first: clients count ids anew each turn, and a call that nobody answered stays open beside later ones of the same id.
/// </summary>
internal sealed class OpenCalls
{
    private readonly List<OpenCall> _calls = [];
    private int _turn;

    public int Count => _calls.Count;

    /// <summary>The next calls are of another turn than those before.</summary>
    public void BeginTurn() => _turn++;

    /// <param name="call">As it was given.</param>
    /// <param name="shown">Its id as the model is shown it.</param>
    public void Add(KimiToolCall call, string shown) => _calls.Add(new OpenCall(call.Id, call.Name, shown, _turn));

    /// <summary>The id as shown of the call that a result answers, which is open no longer; null where no open one is meant.</summary>
    /// <param name="isMeant">Whether the result may answer a call.</param>
    public string? Answer(Predicate<OpenCall> isMeant)
    {
        if (_calls.FindLast(isMeant) is not { } latest)
        {
            return null;
        }

        OpenCall answered = _calls.Find(c => c.Turn == latest.Turn && isMeant(c))!;
        _calls.Remove(answered);
        return answered.Shown;
    }
}

/// <summary>A call without a result.</summary>
/// <param name="Given">Its id as it was given.</param>
/// <param name="Name">Of the tool.</param>
/// <param name="Shown">Its id as the model is shown it.</param>
/// <param name="Turn">Which of the assistant's turns it is of.</param>
internal sealed record OpenCall(string Given, string Name, string Shown, int Turn);
