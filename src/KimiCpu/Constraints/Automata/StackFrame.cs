// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Automata;

/// <summary>A state of a rule and what to go on with when it is left. Equal ones are one object.</summary>
internal sealed class StackFrame(int ruleIndex, Rule rule, UInt128 state, StackFrame? parent, int number)
{
    private int _shortest = -1;
    private int _longest = -1;

    public int RuleIndex => ruleIndex;

    public Rule Rule => rule;

    public UInt128 State => state;

    public StackFrame? Parent => parent;

    /// <summary>In the order of making.</summary>
    public int Number => number;

    /// <summary>Levels of nesting, its own rule's included.</summary>
    public int Depth { get; } = (parent?.Depth ?? 0) + rule.Weight;

    /// <summary>Any so many plain characters can be read; see <see cref="PlainRuns"/>.</summary>
    public int Shortest => _shortest >= 0 ? _shortest : _shortest = FindShortest();

    /// <summary>No more plain characters can be read.</summary>
    public int Longest => _longest >= 0 ? _longest : _longest = FindLongest();

    private int FindShortest() => rule switch
    {
        DfaRule dfa when state == 0 && dfa.Plain.IsOneCharacter => Math.Min(PlainRuns.Many, 1 + (parent?.Rule is CounterRule ? parent.Shortest : 0)),
        DfaRule dfa => dfa.Plain.Shortest[(int)state],
        CounterRule counter when counter.Item is DfaRule { Plain.IsOneCharacter: true } => (int)Math.Min(PlainRuns.Many, (long)counter.Max - (long)state),
        _ => 0,
    };

    private int FindLongest()
    {
        long longest = rule switch
        {
            DfaRule dfa => dfa.Plain.Longest[(int)state] + (dfa.Plain.Leaves[(int)state] ? parent?.Longest ?? 0 : 0),
            CounterRule { Item: DfaRule item } counter => ((counter.Max - (long)state) * item.Plain.Longest[0]) + (parent?.Longest ?? 0),
            _ => PlainRuns.Many,
        };
        return (int)Math.Min(PlainRuns.Many, longest);
    }
}
