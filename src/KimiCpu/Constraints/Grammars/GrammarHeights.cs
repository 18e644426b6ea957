// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>
/// Finds how many levels of nesting the end of each rule needs at least, from each of its states. A rule is swept until nothing changes in it,
/// and again only where a rule that it calls has changed: of long rows of rules that call each other, one may become known at a time.
/// </summary>
internal sealed class GrammarHeights
{
    /// <summary>For a call that is looked at, with the state behind it.</summary>
    private const int WorkOfCall = 4;

    private readonly Rule[] _rules;
    private readonly CompileBudget _budget;

    /// <summary>[rule]: the levels of a call of it.</summary>
    private readonly int[] _levels;

    /// <summary>[rule]: the rules that refer to it, each once; null for none.</summary>
    private readonly List<int>?[] _users;

    /// <summary>[rule]: whether it is to be swept.</summary>
    private readonly bool[] _open;

    private GrammarHeights(Rule[] rules, CompileBudget budget)
    {
        (_rules, _budget) = (rules, budget);
        _levels = [.. rules.Select(LevelsOf)];
        _users = new List<int>?[rules.Length];
        _open = [.. rules.Select(r => r is DfaRule { IsComplete: false })];
        FindUsers();
    }

    /// <param name="rules">Of the grammar. Those that are complete already call no others.</param>
    /// <param name="budget">What it may cost.</param>
    public static void Find(Rule[] rules, CompileBudget budget) => new GrammarHeights(rules, budget).Solve();

    private static int LevelsOf(Rule rule) => rule.Weight + rule.Height(0);

    private void FindUsers()
    {
        var latest = new int[_rules.Length];
        latest.AsSpan().Fill(-1);
        for (int user = 0; user < _rules.Length; user++)
        {
            switch (_rules[user])
            {
                case DfaRule { IsComplete: false } rule:
                    foreach ((int Rule, int Target)[]? calls in rule.Dfa.Calls)
                    {
                        _budget.Spend(calls?.Length ?? 0);
                        Array.ForEach(calls ?? [], c => Add(c.Rule, user));
                    }

                    break;
                case CounterRule counter:
                    Add(counter.ItemIndex, user);
                    break;
                case MembersRule members:
                    members.Named.ForEach(m => Add(m.FirstIndex, user));
                    break;
            }
        }

        void Add(int rule, int user)
        {
            if (latest[rule] != user)
            {
                latest[rule] = user;
                (_users[rule] ??= []).Add(user);
            }
        }
    }

    /// <summary>Called rules mostly have higher numbers.</summary>
    private void Solve()
    {
        while (_open.AsSpan().Contains(true))
        {
            for (int i = _open.AsSpan().LastIndexOf(true); i >= 0; i = _open.AsSpan(0, i).LastIndexOf(true))
            {
                _open[i] = false;
                var rule = (DfaRule)_rules[i];
                while (Sweep(rule))
                {
                }

                Update(i);
            }
        }
    }

    /// <summary>Tells the users of a rule that its levels have changed, if they have.</summary>
    private void Update(int index)
    {
        _budget.Spend(_rules[index] is MembersRule members ? members.Named.Count : 1);
        int levels = LevelsOf(_rules[index]);
        if (levels == _levels[index])
        {
            return;
        }

        _levels[index] = levels;
        foreach (int user in _users[index] ?? [])
        {
            if (_rules[user] is DfaRule)
            {
                _budget.Spend(1);
                _open[user] = true;
            }
            else
            {
                // Counters and members refer to automata alone, so this ends.
                Update(user);
            }
        }
    }

    /// <summary>States behind others mostly have higher numbers.</summary>
    /// <returns>Whether anything changed.</returns>
    private bool Sweep(DfaRule rule)
    {
        bool changed = false;
        Dfa dfa = rule.Dfa;
        for (int state = dfa.StateCount - 1; state >= 0; state--)
        {
            (int Rule, int Target)[] calls = dfa.Calls[state] ?? [];
            _budget.Spend(1 + dfa.ClassCount + ((long)WorkOfCall * calls.Length));
            int height = dfa.Accepts[state] ? 0 : Rule.Unreachable;
            foreach (int next in dfa.Next.AsSpan(state * dfa.ClassCount, dfa.ClassCount))
            {
                height = next == Dfa.Dead ? height : Math.Min(height, rule.Heights[next]);
            }

            foreach ((int called, int target) in calls)
            {
                height = Math.Min(height, Math.Max(_levels[called], rule.Heights[target]));
            }

            changed |= height < rule.Heights[state];
            rule.Heights[state] = height;
        }

        return changed;
    }
}
