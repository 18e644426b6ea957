// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Schemas;

/// <summary>What schemas that hold together say of an object's members.</summary>
internal sealed class ObjectFacts
{
    private const int MaxPatterns = 32;

    private readonly IReadOnlyList<SchemaElement> _schemas;

    public ObjectFacts(IReadOnlyList<SchemaElement> schemas)
    {
        _schemas = schemas;
        foreach (SchemaElement schema in schemas)
        {
            foreach ((string name, _) in schema.NamedChildren("properties"))
            {
                AddName(schema, name);
            }

            foreach ((string pattern, _) in schema.NamedChildren("patternProperties"))
            {
                Patterns.Add((schema, pattern));
                RefuseMany(schema);
            }

            HasAdditional |= schema.TryGet("additionalProperties", out _);
        }

        // An object that declares its members has no others unless the schema says so.
        IsClosed = !HasAdditional && (Names.Count > 0 || Patterns.Count > 0);
        foreach (SchemaElement schema in schemas)
        {
            if (schema.TryGet("required", out JsonElement required))
            {
                foreach (JsonElement name in required.ValueKind == JsonValueKind.Array ? required.EnumerateArray() : throw schema.Error("'required' takes a list of names"))
                {
                    Required.Add(name.ValueKind == JsonValueKind.String ? name.GetString()! : throw schema.Error("'required' takes a list of names"));
                    AddName(schema, name.GetString()!);
                }
            }
        }

        CheckCounts();
    }

    /// <summary>Declared or required, in order.</summary>
    public List<string> Names { get; } = [];

    public HashSet<string> Required { get; } = [];

    public List<(SchemaElement Schema, string Pattern)> Patterns { get; } = [];

    public bool HasAdditional { get; }

    /// <summary>Whether there are no members that no keyword names.</summary>
    public bool IsClosed { get; }

    /// <summary>The schemas that hold together for a member.</summary>
    /// <param name="name">Its name; null for one that is not declared.</param>
    /// <param name="matches">Whether a pattern of <see cref="Patterns"/> matches the name, by its place.</param>
    public List<SchemaElement> SchemasOf(string? name, Func<int, bool> matches)
    {
        var result = new List<SchemaElement>();
        foreach (SchemaElement schema in _schemas)
        {
            int before = result.Count;
            result.AddRange(schema.NamedChildren("properties").Where(p => p.Name == name).Select(p => p.Schema));
            for (int i = 0; i < Patterns.Count; i++)
            {
                if (Patterns[i].Schema.Path == schema.Path && matches(i))
                {
                    result.Add(schema.NamedChildren("patternProperties").First(p => p.Name == Patterns[i].Pattern).Schema);
                }
            }

            if (result.Count == before && schema.TryGet("additionalProperties", out JsonElement additional))
            {
                result.Add(schema.Child("additionalProperties", additional));
            }
        }

        return result;
    }

    /// <summary>Whether the schemas say that a member of a name that no pattern matches must not be there.</summary>
    public bool Forbids(string name) => Patterns.Count == 0 && SchemasOf(name, _ => false).Exists(s => s.IsNothing);

    private void AddName(SchemaElement schema, string name)
    {
        if (!Names.Contains(name))
        {
            Names.Add(name);
            RefuseMany(schema);
        }
    }

    private void RefuseMany(SchemaElement schema)
    {
        if (Names.Count > MembersRule.MaxMembers || Patterns.Count > MaxPatterns)
        {
            throw schema.Error($"an object has at most {MembersRule.MaxMembers} properties and {MaxPatterns} patterns");
        }
    }

    private void CheckCounts()
    {
        foreach (SchemaElement schema in _schemas)
        {
            if (SchemaFacts.Count(schema, "minProperties") is { } least && least > Required.Count)
            {
                throw schema.Error("'minProperties' is supported up to the number of required properties only; name them in 'required'");
            }

            if (SchemaFacts.Count(schema, "maxProperties") is { } most && (!IsClosed || Patterns.Count > 0 || most < Names.Count))
            {
                throw schema.Error("'maxProperties' is not supported; declare the properties instead");
            }
        }
    }
}
