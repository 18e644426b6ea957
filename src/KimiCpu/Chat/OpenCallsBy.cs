// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Chat;

/// <summary>
/// Open calls by what a result may name them by. To add a call and to find one takes the same time however many there are: a request may have hundreds of
/// thousands of calls and as many results, and to look through all calls for each of them would take a core for minutes.
/// </summary>
/// <param name="keyOf">What a call is found by.</param>
internal sealed class OpenCallsBy(Func<OpenCall, string> keyOf)
{
    private readonly Dictionary<string, Turn> _latest = new(StringComparer.Ordinal);

    /// <param name="call">Of the latest turn, or of the one that begins with it.</param>
    public void Add(OpenCall call)
    {
        string key = keyOf(call);
        var last = new Link(call);
        if (_latest.TryGetValue(key, out Turn? turn) && turn.First.Call.Turn == call.Turn)
        {
            turn.Last = turn.Last.Next = last;
        }
        else
        {
            _latest[key] = new Turn(last, turn);
        }
    }

    /// <summary>The first open call of the latest turn that has one; null where none has. What is answered, by whatever it was found, is dropped on the way.</summary>
    public OpenCall? Next(string key)
    {
        if (!_latest.TryGetValue(key, out Turn? turn))
        {
            return null;
        }

        while (turn.First.Call.IsAnswered)
        {
            if (turn.First.Next is { } next)
            {
                turn.First = next;
            }
            else if (turn.Earlier is { } earlier)
            {
                _latest[key] = turn = earlier;
            }
            else
            {
                _latest.Remove(key);
                return null;
            }
        }

        return turn.First.Call;
    }

    private sealed class Turn(Link call, Turn? earlier)
    {
        public Link First { get; set; } = call;

        public Link Last { get; set; } = call;

        public Turn? Earlier { get; } = earlier;
    }

    private sealed class Link(OpenCall call)
    {
        public OpenCall Call { get; } = call;

        public Link? Next { get; set; }
    }
}
