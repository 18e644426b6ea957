// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// Refuses grammars that have too many ways to go on at one place, such as very many branches with many members each: a reader
/// would have to leave some of them out, and always the same ones.
/// </summary>
internal sealed class GrammarReadings
{
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
            for (int state = 0; state < rule.Dfa.StateCount; state++)
            {
                if (rule.Dfa.Calls[state] is not null)
                {
                    readings.Of(rule, state);
                }
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
                DfaRule rule => Of(rule, 0),
                CounterRule counter => Of(counter.ItemIndex),
                MembersRule members => Sum(members.Named.Concat(members.Others).Select(m => Math.Max(Of(m.FirstIndex), Of(m.LaterIndex)))),
                _ => 0,
            };
        }

        return _known[index];
    }

    /// <summary>Of a state and those behind calls that may read nothing.</summary>
    private long Of(DfaRule rule, int state)
    {
        var seen = new HashSet<int> { state };
        var open = new Stack<int>(seen);
        long readings = 0;
        while (open.TryPop(out int at))
        {
            readings += rule.Reads[at] ? 1 : 0;
            foreach ((int called, int target) in rule.Dfa.Calls[at] ?? [])
            {
                _budget.Spend(1);
                readings = Sum([readings, Of(called)]);
                if (MayBeEmpty(_rules[called]) && seen.Add(target))
                {
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

    private long Sum(IEnumerable<long> parts)
    {
        long sum = parts.Sum();
        return sum <= _most ? sum : throw new KimiConstraintException(
            $"There are more than {_most:N0} ways to go on at one place of the text. Use fewer branches, fewer properties in each of them, or fewer repetitions with large bounds in one pattern.");
    }
}
