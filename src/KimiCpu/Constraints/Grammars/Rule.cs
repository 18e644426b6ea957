// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>One rule of a grammar: an automaton that is entered at state 0 and left where it accepts.</summary>
/// <param name="weight">How many levels deeper a call of the rule nests the text.</param>
internal abstract class Rule(int weight)
{
    /// <summary>More than any limit of nesting: no text leads from there to the end.</summary>
    public const int Unreachable = 10_000;

    public int Weight => weight;

    /// <summary>Levels of nesting below this rule that the end needs at least, from a state.</summary>
    public abstract int Height(UInt128 state);
}

/// <summary>A rule made from an expression.</summary>
internal sealed class DfaRule(Dfa dfa, int weight) : Rule(weight)
{
    public Dfa Dfa => dfa;

    /// <summary>[state]; see <see cref="Rule.Height"/>. Found when the grammar is complete.</summary>
    public int[] Heights { get; } = [.. Enumerable.Repeat(Unreachable, dfa.StateCount)];

    /// <summary>[state]: whether a byte can be read there.</summary>
    public bool[] Reads { get; } = [.. Enumerable.Range(0, dfa.StateCount).Select(s => dfa.Next.AsSpan(s * dfa.ClassCount, dfa.ClassCount).ContainsAnyExcept(Dfa.Dead))];

    /// <summary>What is known of runs of plain characters. Found when the grammar is complete.</summary>
    public PlainRuns Plain { get; set; } = null!;

    /// <summary>Whether all is found already, as a part of another grammar.</summary>
    public bool IsComplete => Plain is not null;

    public override int Height(UInt128 state) => Heights[(int)state];

    /// <summary>Whether nothing can happen in a state but leaving the rule.</summary>
    public bool OnlyAccepts(int state) => dfa.Accepts[state] && !Reads[state] && dfa.Calls[state] is null;
}

/// <summary>
/// Another rule, repeated. States are counts, up to the largest that makes a difference. The item must begin with a byte and
/// each text must fall into items in one way, or there are many readings at once.
/// </summary>
internal sealed class CounterRule(Rule item, int itemIndex, int min, int max) : Rule(0)
{
    /// <summary>As maximum: any number.</summary>
    public const int Unbounded = int.MaxValue;

    public int ItemIndex => itemIndex;

    public Rule Item => item;

    public int Min => min;

    public int Max => max;

    /// <summary>The state after one more item.</summary>
    public int After(int count) => max == Unbounded ? Math.Min(count + 1, min) : count + 1;

    /// <summary>A count from which some bytes, and so at most as many items, lead on in the same way.</summary>
    public int Canonical(int count, int bytes)
    {
        bool farFromMax = max == Unbounded || max - count > bytes;
        return !farFromMax ? count : count >= min ? min : min - count > bytes ? 0 : count;
    }

    public override int Height(UInt128 state) => (int)state < min ? item.Weight + item.Height(0) : 0;
}

/// <summary>
/// Members of an object in any order behind those that lead, each named one at most once, and others as often as they come. States are sets of the
/// named ones that came, and whether anything came at all.
/// </summary>
internal sealed class MembersRule : Rule
{
    public const int MaxMembers = 120;

    public static readonly UInt128 Any = UInt128.One << 127;

    public MembersRule()
        : base(0)
    {
    }

    /// <summary>The named ones.</summary>
    public List<Member> Named { get; } = [];

    /// <summary>Kinds of other ones.</summary>
    public List<Member> Others { get; } = [];

    public UInt128 Required { get; set; }

    /// <summary>Required ones that come before all the others, in their order.</summary>
    public UInt128 Leading { get; set; }

    public override int Height(UInt128 state)
    {
        int height = 0;
        for (int i = 0; i < Named.Count; i++)
        {
            UInt128 bit = UInt128.One << i;
            height = (Required & bit) != 0 && (state & bit) == 0 ? Math.Max(height, Named[i].First.Height(0)) : height;
        }

        return height;
    }

    /// <param name="First">Rule of the member where it comes first.</param>
    /// <param name="FirstIndex">Its number.</param>
    /// <param name="Later">Rule of the member with a comma before it.</param>
    /// <param name="LaterIndex">Its number.</param>
    public sealed record Member(Rule First, int FirstIndex, Rule Later, int LaterIndex);
}
