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

    private readonly Dictionary<string, List<SchemaElement[]>> _known = [];
    private readonly HashSet<string> _open = [];

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
        if (_known.TryGetValue(schema.Path, out List<SchemaElement[]>? known))
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

        if (!_open.Add(schema.Path))
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

        if (schema.TryGet("anyOf", out _))
        {
            result = Combine(schema, result, [.. schema.Children("anyOf").SelectMany(Expand)]);
        }

        if (schema.TryGet("oneOf", out _))
        {
            List<SchemaElement[]>[] branches = [.. schema.Children("oneOf").Select(Expand)];
            if (branches.Length > MaxAlternatives)
            {
                throw TooMany(schema);
            }

            if (!overlaps)
            {
                // By itself: what it looks at may lead back to a schema that is open here.
                new SchemaOverlap(new SchemaExpansion(document, budget, overlaps: true), budget).Refuse(schema, branches);
            }

            result = Combine(schema, result, [.. branches.SelectMany(b => b)]);
        }

        _open.Remove(schema.Path);
        _known.Add(schema.Path, result);
        return result;
    }

    private static KimiConstraintException TooMany(SchemaElement at) => at.Error($"'anyOf', 'oneOf' and 'allOf' make more than {MaxAlternatives} alternatives; use 'enum' for lists of values");

    private List<SchemaElement[]> Combine(SchemaElement at, List<SchemaElement[]> left, List<SchemaElement[]> right)
    {
        if ((long)left.Count * right.Count > MaxAlternatives)
        {
            throw TooMany(at);
        }

        budget.Spend(WorkOfElement * (1L + (left.Sum(l => (long)l.Length) * right.Count) + (right.Sum(r => (long)r.Length) * left.Count)));
        return [.. left.SelectMany(l => right.Select(r => l.Concat(r).DistinctBy(e => e.Path).ToArray()))];
    }
}
