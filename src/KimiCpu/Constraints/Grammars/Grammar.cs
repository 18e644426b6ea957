// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Grammars;

/// <summary>A set of texts: rules that call each other. Immutable.</summary>
internal sealed class Grammar
{
    /// <summary>Nesting that no text exceeds, so that JSON can be read with the usual limits of readers.</summary>
    public const int MaxNesting = 64;

    /// <summary>Readings of one text that are followed at once. No place of a grammar has more ways to go on.</summary>
    public const int MaxReadings = 20_000;

    /// <summary>Of an automaton's rule without its states: the classes of bytes, of plain characters among them, and the objects.</summary>
    private const int BytesOfRule = 1500;
    private const int BytesOfMember = 64;

    public Grammar(Rule[] rules, int root, CompileBudget budget)
    {
        Rules = rules;
        Root = root;
        GrammarHeights.Find(rules, budget);
        GrammarReadings.Check(rules, MaxReadings, budget);
        var partition = new BytePartition();
        foreach (DfaRule rule in rules.OfType<DfaRule>())
        {
            partition.Refine(value => rule.Dfa.ClassOf[value]);
            budget.Spend(BytePartition.Work);
            rule.Plain ??= new PlainRuns(rule, budget);
        }

        (ClassOf, ClassCount) = (partition.ClassOf, partition.Count);
    }

    public Rule[] Rules { get; }

    public int Root { get; }

    /// <summary>Whether there are texts at all.</summary>
    public bool HasTexts => CanEnd(Root);

    /// <summary>Class of each byte; bytes of one class lead to the same state everywhere.</summary>
    public byte[] ClassOf { get; }

    public int ClassCount { get; }

    /// <summary>What the rules take, roughly.</summary>
    public long Bytes => Rules.Sum(BytesOf);

    /// <summary>Whether a rule alone has texts.</summary>
    public bool CanEnd(int rule) => Rules[rule].Weight + Rules[rule].Height(0) <= MaxNesting;

    private static long BytesOf(Rule rule) => rule switch
    {
        DfaRule dfa => BytesOfRule + (dfa.Dfa.Next.LongLength * sizeof(int)) + (dfa.Dfa.StateCount * 32L) + dfa.Dfa.Calls.Sum(c => c is null ? 0 : 24 + (c.Length * 8L)),
        MembersRule members => BytesOfMember * (1L + members.Named.Count + members.Others.Count),
        _ => BytesOfMember,
    };
}
