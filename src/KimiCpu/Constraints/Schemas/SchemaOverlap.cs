// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Makes sure that a value that is made of one branch of <c>oneOf</c> is valid by no other branch. Types, listed values and required
/// members hold whatever stands beside the branches. That a branch has no members but its own does not: where branches differ in
/// that alone, each one is told which members of the others it must not have.
/// </summary>
internal sealed class SchemaOverlap(SchemaDocument document, SchemaExpansion expansion)
{
    private const int MaxDepth = 3;

    /// <summary>For comparing two branches, and for one listed value of them.</summary>
    private const int WorkOfPair = 2048;
    private const int WorkOfValue = 32;

    /// <summary>Of names and values that are looked for among others.</summary>
    private const int CharactersOfStep = 2;

    /// <summary>Members that branches must not have if two of them are to be apart.</summary>
    private readonly List<(OverlapSide Side, string Name)> _found = [];

    /// <returns>The alternatives of each branch, with what keeps them out of the other branches.</returns>
    /// <exception cref="KimiConstraintException">Two branches may overlap.</exception>
    public IEnumerable<SchemaElement[]> Separate(SchemaElement schema, IReadOnlyList<List<SchemaElement[]>> branches)
    {
        OverlapSide[][] sides = [.. branches.Select(b => b.Select(a => new OverlapSide(a, expansion, document.Budget, mayForbid: true)).ToArray())];
        for (int i = 0; i < sides.Length; i++)
        {
            for (int j = i + 1; j < sides.Length; j++)
            {
                if (!AreDisjoint(sides[i], sides[j], 0))
                {
                    throw schema.Error($"branches {i} and {j} of 'oneOf' may both be valid for one value; give them different types or a required property with different 'const' values, or use 'anyOf'");
                }
            }
        }

        foreach ((OverlapSide side, string name) in _found)
        {
            side.Forbid(name);
        }

        return sides.SelectMany((branch, i) => branch.Select(side => OverlapSide.Restriction([side], document, () => $"the other branches of {schema.Path}/oneOf/{i}") is { } restriction
            ? [.. side.Schemas, restriction]
            : side.Schemas));
    }

    /// <summary>What was found for some pairs is dropped where another pair may overlap.</summary>
    private bool AreDisjoint(OverlapSide[] left, OverlapSide[] right, int depth)
    {
        int before = _found.Count;
        bool disjoint = Array.TrueForAll(left, l => Array.TrueForAll(right, r => AreDisjoint(l, r, depth)));
        if (!disjoint)
        {
            _found.RemoveRange(before, _found.Count - before);
        }

        return disjoint;
    }

    private bool AreDisjoint(OverlapSide left, OverlapSide right, int depth)
    {
        document.Budget.Spend(WorkOfPair + WorkOf(left.Values) + WorkOf(right.Values));
        if (left.Values is { } a && right.Values is { } b)
        {
            return !a.Keys.Overlaps(b.Keys);
        }

        JsonTypes common = left.Types & right.Types;
        return common == JsonTypes.None || (common == JsonTypes.Object && depth < MaxDepth && DifferInMembers(left, right, depth));
    }

    private static long WorkOf(ValueList? values) => values is null ? 0 : (WorkOfValue * (long)values.Items.Count) + (values.KeyLength / CharactersOfStep);

    private bool DifferInMembers(OverlapSide left, OverlapSide right, int depth)
    {
        document.Budget.Spend((left.Members.RequiredLength + right.Members.RequiredLength) / CharactersOfStep);
        if (left.Members.Patterns.Count + right.Members.Patterns.Count > 0)
        {
            return false;
        }

        // What is apart as it is, such as a discriminator, takes no text away. What is forbidden may.
        int before = _found.Count;
        List<(OverlapSide, string)>? inMember = null;
        foreach (string name in left.Members.Required)
        {
            if (right.Members.Required.Contains(name) && AreDisjoint(left.MemberOf(name), right.MemberOf(name), depth + 1))
            {
                if (_found.Count == before)
                {
                    return true;
                }

                inMember ??= _found[before..];
                _found.RemoveRange(before, _found.Count - before);
            }
        }

        if (left.Members.Required.Any(right.Members.Forbids) || right.Members.Required.Any(left.Members.Forbids))
        {
            return true;
        }

        if ((inMember ?? Missing(left, right)) is not { } found)
        {
            return false;
        }

        _found.AddRange(found);
        return true;
    }

    /// <summary>A member for each of two that the other one requires, and that it need not have; null where there is none for one of them.</summary>
    private static List<(OverlapSide Side, string Name)>? Missing(OverlapSide left, OverlapSide right) =>
        MissingIn(left, right) is { } inLeft && MissingIn(right, left) is { } inRight ? [(left, inLeft), (right, inRight)] : null;

    private static string? MissingIn(OverlapSide made, OverlapSide by) =>
        made.Members.IsClosed ? by.Members.Required.FirstOrDefault(n => !made.Members.IsNamed(n) && made.MayForbid(n)) : null;
}
