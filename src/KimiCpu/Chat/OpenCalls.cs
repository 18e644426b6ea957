// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>
/// The calls of a conversation that have no result yet. Where a result may mean several it answers one of the latest turn that has any, and in
/// that turn the first: clients count ids anew each turn, and a call that nobody answered stays open beside later ones of the same id.
/// </summary>
internal sealed class OpenCalls
{
    private readonly OpenCallsBy _given = new(c => c.Given);
    private readonly OpenCallsBy _shown = new(c => c.Shown);
    private readonly OpenCallsBy _named = new(c => c.Name);
    private readonly OpenCallsBy _all = new(_ => "");
    private int _turn;

    public int Count { get; private set; }

    /// <summary>The next calls are of another turn than those before.</summary>
    public void BeginTurn() => _turn++;

    /// <param name="call">As it was given.</param>
    /// <param name="shown">Its id as the model is shown it.</param>
    public void Add(KimiToolCall call, string shown)
    {
        var open = new OpenCall(call.Id, call.Name, shown, _turn);
        _given.Add(open);
        _shown.Add(open);
        _named.Add(open);
        _all.Add(open);
        Count++;
    }

    /// <summary>The id as shown of the call that a result with this id answers, which is open no longer; null where no open one was given with it.</summary>
    public string? AnswerGiven(string id) => Answer(_given.Next(id));

    /// <summary>The same of a call by the id that it is shown with.</summary>
    public string? AnswerShown(string id) => Answer(_shown.Next(id));

    /// <summary>The same of a call of a tool.</summary>
    public string? AnswerNamed(string tool) => Answer(_named.Next(tool));

    /// <summary>The same of any call.</summary>
    public string? AnswerAny() => Answer(_all.Next(""));

    private string? Answer(OpenCall? call)
    {
        if (call is null)
        {
            return null;
        }

        call.IsAnswered = true;
        Count--;
        return call.Shown;
    }
}

/// <summary>A call that may have a result.</summary>
/// <param name="given">Its id as it was given.</param>
/// <param name="name">Of the tool.</param>
/// <param name="shown">Its id as the model is shown it.</param>
/// <param name="turn">Which of the assistant's turns it is of.</param>
internal sealed class OpenCall(string given, string name, string shown, int turn)
{
    public string Given { get; } = given;

    public string Name { get; } = name;

    public string Shown { get; } = shown;

    public int Turn { get; } = turn;

    public bool IsAnswered { get; set; }
}
