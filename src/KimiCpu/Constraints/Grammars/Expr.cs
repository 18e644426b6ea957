// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Constraints.Grammars;

/// <summary>A regular expression over bytes and calls of rules: what a rule's automaton is made from.</summary>
internal abstract record Expr
{
    public static readonly Expr Empty = new SequenceExpr([]);

    /// <summary>Matches nothing at all.</summary>
    public static readonly Expr Never = new ChoiceExpr([]);

    public static Expr Text(string text) => new LiteralExpr(Encoding.UTF8.GetBytes(text));

    public static Expr Bytes(ByteSet set) => new BytesExpr(set);

    public static Expr Bytes(string ascii) => new BytesExpr(ByteSet.Of(ascii));

    public static Expr Sequence(params Expr[] parts) => parts.Length == 1 ? parts[0] : new SequenceExpr(parts);

    public static Expr Choice(params Expr[] branches) => branches.Length == 1 ? branches[0] : new ChoiceExpr(branches);

    public static Expr Optional(Expr item) => new RepeatExpr(item, 0, 1);

    /// <param name="item">What is repeated.</param>
    /// <param name="min">Least repetitions.</param>
    /// <param name="max">Most repetitions; null for any number.</param>
    public static Expr Repeat(Expr item, int min, int? max) => new RepeatExpr(item, min, max);

    public static Expr Call(int rule) => new CallExpr(rule);
}

internal sealed record BytesExpr(ByteSet Set) : Expr;

internal sealed record LiteralExpr(byte[] Value) : Expr;

internal sealed record SequenceExpr(Expr[] Parts) : Expr;

internal sealed record ChoiceExpr(Expr[] Branches) : Expr;

internal sealed record RepeatExpr(Expr Item, int Min, int? Max) : Expr;

internal sealed record CallExpr(int Rule) : Expr;

/// <summary>A graph of expressions, where a tree would repeat itself.</summary>
/// <param name="StateCount">States are 0 … StateCount - 1; 0 is the start.</param>
/// <param name="Edges">From state to state by an expression; null for nothing.</param>
/// <param name="Accepting">States where it may end.</param>
internal sealed record GraphExpr(int StateCount, IReadOnlyList<(int From, Expr? Via, int To)> Edges, IReadOnlyList<int> Accepting) : Expr;
