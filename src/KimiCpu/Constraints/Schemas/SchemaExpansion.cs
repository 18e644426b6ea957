// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Resolves <c>$ref</c>, <c>allOf</c>, <c>anyOf</c> and <c>oneOf</c>: a schema becomes alternatives, each of which is a set of
/// schemas whose other keywords hold together.
/// </summary>
/// <param name="document">What references refer to.</param>
/// <param name="budget">What it may cost.</param>
/// <param name="overlaps">Whether branches of <c>oneOf</c> that may overlap are accepted.</param>
internal sealed class SchemaExpansion(SchemaDocument document, CompileBudget budget, bool overlaps = false)
{
    private const int MaxAlternatives = 500;
    private const int MaxDepth = 200;
    private const int WorkOfElement = 32;

    /// <summary>What is kept of an alternative until the compilation ends, without its schemas.</summary>
    private const int CellsOfAlternative = 8;

    /// <summary>Of a schema in an alternative.</summary>
    private const int CellsOfElement = 2;

    private readonly Dictionary<SchemaElement, List<SchemaElement[]>> _known = [];
    private readonly HashSet<SchemaElement> _open = [];

    /// <summary>The alternatives of schemas that hold together.</summary>
    public List<SchemaElement[]> Expand(IEnumerable<SchemaElement> together)
    {
        List<SchemaElement[]> result = [[]];
        foreach (SchemaElement schema in together)
        {
            result = Combine(schema, result, Expand(schema));
        }

        return result;
    }

    private List<SchemaElement[]> Expand(SchemaElement schema)
    {
        budget.Spend(WorkOfElement);
        if (_known.TryGetValue(schema, out List<SchemaElement[]>? known))
        {
            return known;
        }

        SchemaKeywords.Check(schema);
        if (schema.IsNothing)
        {
            return [];
        }

        if (_open.Count > MaxDepth)
        {
            throw schema.Error($"more than {MaxDepth} schemas refer to each other with no property or item in between");
        }

        if (!_open.Add(schema))
        {
            throw schema.Error("the schema refers to itself with no property or item in between");
        }

        List<SchemaElement[]> result = [[schema]];
        if (schema.TryGet("$ref", out JsonElement reference))
        {
            result = Combine(schema, result, Expand(document.Resolve(schema, reference)));
        }

        foreach (SchemaElement part in schema.Children("allOf"))
        {
            result = Combine(schema, result, Expand(part));
        }

        if (schema.Member("anyOf") is not null)
        {
            result = Combine(schema, result, [.. Branches(schema, "anyOf").SelectMany(b => b)]);
        }

        if (schema.Member("oneOf") is not null)
        {
            List<List<SchemaElement[]>> branches = Branches(schema, "oneOf");

            // By itself: what it looks at may lead back to a schema that is open here.
            result = Combine(schema, result, [.. overlaps ? branches.SelectMany(b => b) : new SchemaOverlap(document, new SchemaExpansion(document, budget, overlaps: true)).Separate(schema, branches)]);
        }

        _open.Remove(schema);
        _known.Add(schema, result);
        return result;
    }

    /// <summary>The alternatives of each branch; no more of them than there may be are ever kept.</summary>
    private List<List<SchemaElement[]>> Branches(SchemaElement schema, string keyword)
    {
        var branches = new List<List<SchemaElement[]>>();
        int count = 0;
        foreach (SchemaElement branch in schema.Children(keyword))
        {
            branches.Add(Expand(branch));
            count += branches[^1].Count;
            if (count > MaxAlternatives)
            {
                throw TooMany(schema);
            }
        }

        return branches;
    }

    private static KimiConstraintException TooMany(SchemaElement at) => at.Error($"'anyOf', 'oneOf' and 'allOf' make more than {MaxAlternatives} alternatives; use 'enum' for lists of values");

    private List<SchemaElement[]> Combine(SchemaElement at, List<SchemaElement[]> left, List<SchemaElement[]> right)
    {
        if ((long)left.Count * right.Count > MaxAlternatives)
        {
            throw TooMany(at);
        }

        long elements = (left.Sum(l => (long)l.Length) * right.Count) + (right.Sum(r => (long)r.Length) * left.Count);
        budget.Spend(WorkOfElement * (1 + elements));
        budget.CountCells((CellsOfAlternative * (long)left.Count * right.Count) + (CellsOfElement * elements));
        return [.. left.SelectMany(l => right.Select(r => l.Concat(r).Distinct().ToArray()))];
    }
}
