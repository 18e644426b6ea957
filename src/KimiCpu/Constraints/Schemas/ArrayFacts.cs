// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>What schemas that hold together say of an array's items.</summary>
internal sealed class ArrayFacts
{
    /// <summary>For a schema that is looked at.</summary>
    private const int WorkOfSchema = 16;

    private readonly CompileBudget _budget;

    /// <summary>Those that say something of items: as a rule one or two, of thousands that may hold together, and each place looks at all of them.</summary>
    private readonly List<(SchemaElement Schema, IReadOnlyList<SchemaElement> Prefix)> _schemas = [];

    public ArrayFacts(IReadOnlyList<SchemaElement> schemas, CompileBudget budget)
    {
        _budget = budget;
        budget.Spend(WorkOfSchema * (long)schemas.Count);
        foreach (SchemaElement schema in schemas)
        {
            IReadOnlyList<SchemaElement> prefix = schema.Children("prefixItems");
            if (prefix.Count > 0 || schema.Member("items") is not null)
            {
                _schemas.Add((schema, prefix));
                Prefix = Math.Max(Prefix, prefix.Count);
            }
        }
    }

    /// <summary>Items from this place on have the same schemas.</summary>
    public int Prefix { get; }

    /// <summary>The schemas that hold together for an item.</summary>
    public List<SchemaElement> SchemasAt(int index)
    {
        _budget.Spend(WorkOfSchema * (1L + _schemas.Count));
        var result = new List<SchemaElement>();
        foreach ((SchemaElement schema, IReadOnlyList<SchemaElement> prefix) in _schemas)
        {
            if (index < prefix.Count)
            {
                result.Add(prefix[index]);
            }
            else if (schema.Member("items") is { } items)
            {
                result.Add(items.Json.ValueKind == JsonValueKind.Array ? throw schema.Error("'items' takes one schema; a list of them is called 'prefixItems'") : items);
            }
        }

        return result;
    }
}
