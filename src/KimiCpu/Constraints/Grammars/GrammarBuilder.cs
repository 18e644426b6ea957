// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>Collects rules. A rule may be called before it is defined.</summary>
internal sealed class GrammarBuilder(CompileBudget budget)
{
    private readonly List<Func<Rule>> _makers = [];
    private readonly Dictionary<(int, int, int), int> _counters = [];
    private readonly List<Rule?> _rules = [];
    private bool _resolving;

    public CompileBudget Budget => budget;

    /// <summary>A number for a rule that is defined later.</summary>
    public int Reserve()
    {
        budget.CountRule();
        _makers.Add(() => throw new InvalidOperationException("A rule was never defined."));
        _rules.Add(null);
        return _makers.Count - 1;
    }

    /// <param name="rule">From <see cref="Reserve"/>.</param>
    /// <param name="expr">What it matches.</param>
    /// <param name="levels">How many levels deeper a call of it nests the text.</param>
    public void Define(int rule, Expr expr, int levels = 0)
    {
        Dfa dfa = DfaBuilder.Build(expr, budget);
        _makers[rule] = () => new DfaRule(dfa, levels);
    }

    public int Add(Expr expr)
    {
        int rule = Reserve();
        Define(rule, expr);
        return rule;
    }

    /// <summary>A rule of another grammar, which is complete and calls no rules. Nothing is computed for it again.</summary>
    public int Add(DfaRule complete)
    {
        int rule = Reserve();
        _makers[rule] = () => complete;
        return rule;
    }

    /// <summary>A repetition that costs no states; see <see cref="CounterRule"/>.</summary>
    public Expr Count(int item, int min, int? max)
    {
        if (max is 0 || max < min)
        {
            return max < min ? Expr.Never : Expr.Empty;
        }

        (int, int, int) key = (item, min, max ?? CounterRule.Unbounded);
        if (!_counters.TryGetValue(key, out int rule))
        {
            rule = Reserve();
            _counters.Add(key, rule);
            _makers[rule] = () => new CounterRule(Resolve(item), item, min, max ?? CounterRule.Unbounded);
        }

        return Expr.Call(rule);
    }

    /// <summary>Members of an object; each comes as its rule for the first place and the one for later places.</summary>
    public Expr Members(IReadOnlyList<(int First, int Later, bool Required, bool Leads)> named, IReadOnlyList<(int First, int Later)> others)
    {
        int rule = Reserve();
        _makers[rule] = () =>
        {
            var members = new MembersRule();
            members.Named.AddRange(named.Select(n => Member(n.First, n.Later)));
            members.Others.AddRange(others.Select(o => Member(o.First, o.Later)));
            for (int i = 0; i < named.Count; i++)
            {
                members.Required |= named[i].Required ? UInt128.One << i : 0;
                members.Leading |= named[i].Leads ? UInt128.One << i : 0;
            }

            return members;
        };
        return Expr.Call(rule);
    }

    public Grammar Build(int root)
    {
        _resolving = true;
        for (int i = 0; i < _makers.Count; i++)
        {
            Resolve(i);
        }

        return new Grammar([.. _rules.Select(r => r!)], root, budget);
    }

    private MembersRule.Member Member(int first, int later) => new(Resolve(first), first, Resolve(later), later);

    /// <summary>Counters and members refer to automata alone, never to each other, so this ends.</summary>
    private Rule Resolve(int rule)
    {
        System.Diagnostics.Debug.Assert(_resolving, "All rules are known by then.");
        return _rules[rule] ??= _makers[rule]();
    }
}
