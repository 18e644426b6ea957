// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// Refuses grammars that have too many ways to go on at one place, such as very many branches with many members each: a reader
/// would have to leave some of them out, and always the same ones.
/// </summary>
internal sealed class GrammarReadings
{
    /// <summary>For a call that is looked at, with the state behind it.</summary>
    private const int WorkOfCall = 4;

    private readonly Rule[] _rules;
    private readonly int _most;
    private readonly CompileBudget _budget;
    private readonly long[] _known;

    private GrammarReadings(Rule[] rules, int most, CompileBudget budget)
    {
        (_rules, _most, _budget) = (rules, most, budget);
        _known = new long[rules.Length];
        _known.AsSpan().Fill(-1);
    }

    /// <param name="rules">Of the grammar.</param>
    /// <param name="most">Ways to go on that a reader follows at once.</param>
    /// <param name="budget">What it may cost.</param>
    /// <exception cref="KimiConstraintException">There are more at one place.</exception>
    public static void Check(Rule[] rules, int most, CompileBudget budget)
    {
        var readings = new GrammarReadings(rules, most, budget);
        foreach (DfaRule rule in rules.OfType<DfaRule>())
        {
            readings.Check(rule);
        }
    }

    private void Check(DfaRule rule)
    {
        var seen = new int[rule.Dfa.StateCount];
        for (int state = 0; state < seen.Length; state++)
        {
            // What is behind a state that another one leads to is behind that one too, so there are no more ways to go on. Else long
            // rows of parts that may be empty would be looked at again from each of them.
            if (seen[state] == 0 && rule.Dfa.Calls[state] is not null)
            {
                Of(rule, state, seen);
            }
        }
    }

    /// <summary>Of a rule from its start.</summary>
    private long Of(int index)
    {
        if (_known[index] < 0)
        {
            // A rule that calls itself before it reads anything, which no schema makes, would count itself no more than once.
            _known[index] = 0;
            _known[index] = _rules[index] switch
            {
                DfaRule rule => Of(rule, 0, new int[rule.Dfa.StateCount]),
                CounterRule counter => Of(counter.ItemIndex),
                MembersRule members => Of(members),
                _ => 0,
            };
        }

        return _known[index];
    }

    private long Of(MembersRule rule)
    {
        long readings = 0;
        foreach (MembersRule.Member member in rule.Named.Concat(rule.Others))
        {
            readings = Add(readings, Math.Max(Of(member.FirstIndex), Of(member.LaterIndex)));
        }

        return readings;
    }

    /// <summary>Of a state and those behind calls that may read nothing.</summary>
    /// <param name="rule">That has the state.</param>
    /// <param name="state">From where to look.</param>
    /// <param name="seen">[state]: 1 + the last one from which a look came there.</param>
    private long Of(DfaRule rule, int state, int[] seen)
    {
        seen[state] = state + 1;
        var open = new Stack<int>([state]);
        long readings = 0;
        while (open.TryPop(out int at))
        {
            readings = Add(readings, rule.Reads[at] ? 1 : 0);
            foreach ((int called, int target) in rule.Dfa.Calls[at] ?? [])
            {
                _budget.Spend(WorkOfCall);
                readings = Add(readings, Of(called));
                if (MayBeEmpty(_rules[called]) && seen[target] != state + 1)
                {
                    seen[target] = state + 1;
                    open.Push(target);
                }
            }
        }

        return readings;
    }

    private static bool MayBeEmpty(Rule rule) => rule switch
    {
        DfaRule dfa => dfa.Dfa.Accepts[0] || dfa.Dfa.Calls[0] is not null,
        CounterRule counter => counter.Min == 0,
        MembersRule members => members.Required == 0,
        _ => true,
    };

    private long Add(long readings, long more) => readings + more is var sum && sum <= _most ? sum : throw new KimiConstraintException(
        $"There are more than {_most:N0} ways to go on at one place of the text. Use fewer branches, fewer properties in each of them, or fewer repetitions with large bounds in one pattern.");
}
