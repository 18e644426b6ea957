// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// How many plain characters in a row a rule reads from each state, whatever they are. Plain are all code points but
/// controls, the quotation mark, the backslash and the line breaks U+2028 and U+2029; most tokens hold nothing else. So in
/// a JSON string, or wherever any line may stand, most of a vocabulary need not be looked at token by token.
/// </summary>
internal sealed class PlainRuns
{
    /// <summary>Stands for this many and more.</summary>
    public const byte Many = 255;

    private const int MaxAnalysedStates = 50_000;
    private const int MaxExactSweeps = 24;

    /// <summary>
    /// UTF-8 of plain characters as an automaton; 0 lies between characters. Continuation bytes after some lead bytes have
    /// narrower ranges (Unicode 15.0, table 3-7).
    /// </summary>
    private static readonly (int First, int Last, int Next)[][] s_utf8 =
    [
        [(0x20, 0x21, 0), (0x23, 0x5B, 0), (0x5D, 0x7F, 0), (0xC2, 0xDF, 1), (0xE0, 0xE0, 4), (0xE1, 0xE1, 2), (0xE2, 0xE2, 8), (0xE3, 0xEC, 2), (0xED, 0xED, 5), (0xEE, 0xEF, 2), (0xF0, 0xF0, 6), (0xF1, 0xF3, 3), (0xF4, 0xF4, 7)],
        [(0x80, 0xBF, 0)],
        [(0x80, 0xBF, 1)],
        [(0x80, 0xBF, 2)],
        [(0xA0, 0xBF, 1)],
        [(0x80, 0x9F, 1)],
        [(0x90, 0xBF, 2)],
        [(0x80, 0x8F, 2)],
        [(0x80, 0x80, 9), (0x81, 0xBF, 1)],
        [(0x80, 0xA7, 0), (0xAA, 0xBF, 0)],
    ];

    private static readonly int s_places = s_utf8.Length;

    private readonly DfaRule _rule;
    private readonly CompileBudget _budget;
    private readonly (int Class, int Next)[][] _edges;

    public PlainRuns(DfaRule rule, CompileBudget budget)
    {
        (_rule, _budget) = (rule, budget);
        _edges = [.. s_utf8.Select(edges => edges.SelectMany(e => Enumerable.Range(e.First, e.Last - e.First + 1).Select(v => ((int)rule.Dfa.ClassOf[v], e.Next))).Distinct().ToArray())];
        int states = rule.Dfa.StateCount;
        (Shortest, Longest, Leaves) = (new byte[states], new byte[states], new bool[states]);
        if (states > MaxAnalysedStates)
        {
            Longest.AsSpan().Fill(Many);
            Leaves.AsSpan().Fill(true);
            return;
        }

        FindShortest();
        FindLongest();
        FindLeaves();
        IsOneCharacter = !rule.Dfa.Accepts[0] && rule.Weight == 0 && Shortest[0] > 0 && AcceptsAfterOne(0, 0);
    }

    /// <summary>[state]: the rule reads any so many plain characters from there.</summary>
    public byte[] Shortest { get; }

    /// <summary>[state]: the rule reads no more plain characters than these from there, or <see cref="Many"/>.</summary>
    public byte[] Longest { get; }

    /// <summary>[state]: whether plain characters, or none, can lead to where the rule may be left.</summary>
    public bool[] Leaves { get; }

    /// <summary>Whether every plain character is accepted by itself, so that a repetition reads any so many.</summary>
    public bool IsOneCharacter { get; }

    /// <summary>Shortest way to a byte that is not read; from there on only deeper nesting would help, which may not be allowed.</summary>
    private void FindShortest() => Solve(Shortest, Many, int.MaxValue, (state, at, values) =>
    {
        int best = Many;
        foreach ((int c, int next) in _edges[at])
        {
            int target = Target(state, c);
            int value = target == Dfa.Dead || _rule.Heights[target] > 0 ? 0 : values[(target * s_places) + next] + (next == 0 ? 1 : 0);
            best = Math.Min(best, value);
        }

        return best;
    });

    private void FindLongest() => Solve(Longest, 0, MaxExactSweeps, (state, at, values) =>
    {
        int best = _rule.Dfa.Calls[state] is null ? 0 : Many;
        foreach ((int c, int next) in _edges[at])
        {
            int target = Target(state, c);
            best = target == Dfa.Dead ? best : Math.Max(best, values[(target * s_places) + next] + (next == 0 ? 1 : 0));
        }

        return Math.Min(best, Many);
    });

    private void FindLeaves()
    {
        var leaves = new byte[_rule.Dfa.StateCount];
        Solve(leaves, 0, int.MaxValue, (state, at, values) =>
        {
            bool found = (at == 0 && _rule.Dfa.Accepts[state]) || _rule.Dfa.Calls[state] is not null;
            foreach ((int c, int next) in _edges[at])
            {
                int target = Target(state, c);
                found |= target != Dfa.Dead && values[(target * s_places) + next] > 0;
            }

            return found ? 1 : 0;
        });
        for (int i = 0; i < leaves.Length; i++)
        {
            Leaves[i] = leaves[i] > 0;
        }
    }

    /// <summary>Sweeps until nothing changes. After too many sweeps, what still changes grows without end.</summary>
    private void Solve(byte[] result, byte initial, int exactSweeps, Func<int, int, byte[], int> value)
    {
        var values = new byte[result.Length * s_places];
        values.AsSpan().Fill(initial);
        int steps = _edges.Sum(e => e.Length) + _edges.Length;
        bool changed = true;
        for (int sweep = 0; changed; sweep++)
        {
            changed = false;
            for (int state = result.Length - 1; state >= 0; state--)
            {
                _budget.Spend(steps);
                for (int last = s_places; last > 0; last--)
                {
                    int at = last % s_places;
                    ref byte known = ref values[(state * s_places) + at];
                    byte found = (byte)value(state, at, values);
                    if (found != known)
                    {
                        known = sweep >= exactSweeps ? Many : found;
                        changed = true;
                    }
                }
            }
        }

        for (int state = 0; state < result.Length; state++)
        {
            result[state] = values[state * s_places];
        }
    }

    private bool AcceptsAfterOne(int state, int at)
    {
        foreach ((int c, int next) in _edges[at])
        {
            int target = Target(state, c);
            if (target == Dfa.Dead || (next == 0 ? !_rule.Dfa.Accepts[target] : !AcceptsAfterOne(target, next)))
            {
                return false;
            }
        }

        return true;
    }

    private int Target(int state, int c) => _rule.Dfa.Next[(state * _rule.Dfa.ClassCount) + c];
}
