// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Makes sure that a value of one branch of <c>oneOf</c> is valid by no other branch, where that can be seen.</summary>
internal sealed class SchemaOverlap(SchemaExpansion expansion, CompileBudget budget)
{
    private const int MaxDepth = 3;

    /// <summary>For reading what two branches say, and for comparing one listed value.</summary>
    private const int WorkOfPair = 2048;
    private const int WorkOfValue = 32;

    /// <exception cref="KimiConstraintException">Two branches may overlap.</exception>
    public void Refuse(SchemaElement schema, IReadOnlyList<List<SchemaElement[]>> branches)
    {
        for (int i = 0; i < branches.Count; i++)
        {
            for (int j = i + 1; j < branches.Count; j++)
            {
                if (!AreDisjoint(branches[i], branches[j], 0))
                {
                    throw schema.Error($"branches {i} and {j} of 'oneOf' may both be valid for one value; give them different types or a required property with different 'const' values, or use 'anyOf'");
                }
            }
        }
    }

    private bool AreDisjoint(List<SchemaElement[]> left, List<SchemaElement[]> right, int depth) =>
        left.TrueForAll(l => right.TrueForAll(r => AreDisjoint(new SchemaFacts(l), new SchemaFacts(r), depth)));

    private bool AreDisjoint(SchemaFacts left, SchemaFacts right, int depth)
    {
        budget.Spend(WorkOfPair + (WorkOfValue * ((left.Values?.Count ?? 0L) + (right.Values?.Count ?? 0L))));
        if (left.Values is { } a && right.Values is { } b)
        {
            return !a.Exists(new HashSet<JsonElement>(b, JsonValueComparer.Instance).Contains);
        }

        JsonTypes leftTypes = TypesOf(left);
        JsonTypes common = leftTypes & TypesOf(right);
        if (common == JsonTypes.None)
        {
            return true;
        }

        return common == JsonTypes.Object && depth < MaxDepth && DifferInMembers(new ObjectFacts(left.Schemas), new ObjectFacts(right.Schemas), depth);
    }

    /// <summary>Of the branch without a property that the other one requires, no value is made that has it.</summary>
    private bool DifferInMembers(ObjectFacts left, ObjectFacts right, int depth)
    {
        if (left.Patterns.Count + right.Patterns.Count > 0)
        {
            return false;
        }

        foreach (string name in left.Required.Intersect(right.Required))
        {
            if (AreDisjoint(expansion.Expand(left.SchemasOf(name, _ => false)), expansion.Expand(right.SchemasOf(name, _ => false)), depth + 1))
            {
                return true;
            }
        }

        return NoneIsValid(left, right) && NoneIsValid(right, left);
    }

    private static bool NoneIsValid(ObjectFacts made, ObjectFacts by) =>
        by.Required.Any(n => !made.Names.Contains(n) && (made.IsClosed || made.Forbids(n))) || made.Required.Any(by.Forbids);

    private static JsonTypes TypesOf(SchemaFacts facts) =>
        facts.Values is { } values ? values.Aggregate(JsonTypes.None, (all, v) => all | SchemaFacts.TypeOf(v)) & facts.Types : facts.Types;
}
