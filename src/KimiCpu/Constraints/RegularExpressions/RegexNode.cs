// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>A parsed pattern.</summary>
internal abstract record RegexNode
{
    public static readonly RegexNode Empty = new RegexSequence([]);
}

internal sealed record RegexCharacters(CodePointSet Set) : RegexNode;

internal sealed record RegexSequence(IReadOnlyList<RegexNode> Parts) : RegexNode;

internal sealed record RegexChoice(IReadOnlyList<RegexNode> Branches) : RegexNode;

/// <param name="Item">What is repeated.</param>
/// <param name="Min">Least repetitions.</param>
/// <param name="Max">Most; null for any number.</param>
internal sealed record RegexRepeat(RegexNode Item, int Min, int? Max) : RegexNode;

/// <summary><c>^</c> or <c>$</c>.</summary>
internal sealed record RegexAnchor(bool AtEnd) : RegexNode;
