// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>Makes the expression over bytes that a pattern stands for.</summary>
/// <param name="encode">How one character of a set is written.</param>
/// <param name="budget">What it may cost.</param>
/// <param name="grammar">For repetitions of characters without a state each; null where rules cannot be called.</param>
internal sealed class RegexCompiler(Func<CodePointSet, Expr> encode, CompileBudget budget, GrammarBuilder? grammar = null)
{
    /// <summary>What a range of characters takes where it is written in bytes.</summary>
    private const int CellsOfRange = 64;

    /// <summary>For a set that is written, beside its ranges.</summary>
    private const int WorkOfSet = 256;

    /// <summary>Shorter repetitions are cheaper in states.</summary>
    private const int MaxExpanded = 8;

    private static readonly RegexNode s_anything = new RegexRepeat(new RegexCharacters(CodePointSet.All), 0, null);

    private readonly Dictionary<CodePointSet, int> _characterRules = [];
    private readonly Dictionary<CodePointSet, Expr> _encoded = [];

    /// <summary>The pattern must match a text as a whole. Anchors at the edges change nothing.</summary>
    /// <exception cref="KimiConstraintException">The pattern is malformed, uses what is not supported, or is too large.</exception>
    public Expr Whole(string pattern) => Compile(pattern, RegexNode.Empty);

    /// <summary>The pattern must match somewhere in a text, as JSON Schema has it.</summary>
    /// <exception cref="KimiConstraintException">The pattern is malformed, uses what is not supported, or is too large.</exception>
    public Expr Search(string pattern) => Compile(pattern, s_anything);

    /// <summary>Puts what may stand outside to one edge of a node, unless an anchor stands there.</summary>
    private static RegexNode Strip(RegexNode node, bool atEnd, RegexNode outside)
    {
        switch (node)
        {
            case RegexAnchor anchor when anchor.AtEnd == atEnd:
                return RegexNode.Empty;
            case RegexChoice choice:
                return new RegexChoice([.. choice.Branches.Select(b => Strip(b, atEnd, outside))]);
            case RegexSequence { Parts.Count: > 0 } sequence:
                RegexNode edge = atEnd ? sequence.Parts[^1] : sequence.Parts[0];
                RegexNode stripped = Strip(edge, atEnd, outside);
                return new RegexSequence(atEnd ? [.. sequence.Parts.SkipLast(1), stripped] : [stripped, .. sequence.Parts.Skip(1)]);
            default:
                return new RegexSequence(atEnd ? [node, outside] : [outside, node]);
        }
    }

    private Expr Compile(string pattern, RegexNode outside) => Compile(Strip(Strip(RegexParser.Parse(pattern, budget), false, outside), true, outside));

    private Expr Compile(RegexNode node) => node switch
    {
        RegexCharacters characters => Encode(characters.Set),
        RegexSequence sequence => Expr.Sequence([.. sequence.Parts.Select(Compile)]),
        RegexChoice choice => Expr.Choice([.. choice.Branches.Select(Compile)]),
        RegexRepeat repeat => Compile(repeat),
        _ => throw new KimiConstraintException("Anchors are supported at the beginning ('^') and the end ('$') of a pattern or of its alternatives only."),
    };

    private Expr Compile(RegexRepeat repeat)
    {
        bool many = repeat.Min > MaxExpanded || repeat.Max > MaxExpanded;
        if (!many || grammar is null || repeat.Item is not RegexCharacters characters || characters.Set.Ranges.Count == 0)
        {
            return Expr.Repeat(Compile(repeat.Item), repeat.Min, repeat.Max);
        }

        if (!_characterRules.TryGetValue(characters.Set, out int rule))
        {
            rule = grammar.Add(Encode(characters.Set));
            _characterRules.Add(characters.Set, rule);
        }

        return grammar.Count(rule, repeat.Min, repeat.Max);
    }

    /// <summary>Sets of categories have hundreds of ranges, so they are written once and counted before there is an automaton to count.</summary>
    private Expr Encode(CodePointSet set)
    {
        if (!_encoded.TryGetValue(set, out Expr? expr))
        {
            budget.Spend(WorkOfSet);
            budget.CountCells(CellsOfRange * set.Ranges.Count);
            expr = encode(set);
            _encoded.Add(set, expr);
        }

        return expr;
    }
}
