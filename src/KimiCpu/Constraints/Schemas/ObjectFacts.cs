// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Schemas;

/// <summary>What schemas that hold together say of an object's members.</summary>
internal sealed class ObjectFacts
{
    private const int MaxPatterns = 32;

    /// <summary>Properties that are false. They cost no bit of a set of members.</summary>
    private const int MaxForbidden = 500;

    /// <summary>For what one schema says of a name by one pattern.</summary>
    private const int WorkOfPattern = 16;

    private readonly IReadOnlyList<SchemaElement> _schemas;
    private readonly CompileBudget _budget;
    private readonly HashSet<string> _named = new(StringComparer.Ordinal);
    private int _forbidden;

    public ObjectFacts(IReadOnlyList<SchemaElement> schemas, CompileBudget budget)
    {
        (_schemas, _budget) = (schemas, budget);
        foreach (SchemaElement schema in schemas)
        {
            foreach ((string name, SchemaElement property) in schema.NamedChildren("properties"))
            {
                AddName(schema, name, property.IsNothing);
            }

            foreach (string pattern in schema.NamedChildren("patternProperties").Keys)
            {
                Patterns.Add((schema, pattern));
                RefuseMany(schema);
            }

            HasAdditional |= schema.Member("additionalProperties") is not null;
        }

        // An object that declares its members has no others unless the schema says so.
        IsClosed = !HasAdditional && (Names.Count > 0 || Patterns.Count > 0);
        foreach (SchemaElement schema in schemas)
        {
            foreach (string name in schema.Required)
            {
                RequiredLength += Required.Add(name) ? name.Length : 0;
                AddName(schema, name, isNothing: false);
            }
        }

        CheckCounts();
    }

    /// <summary>Declared or required, in order.</summary>
    public List<string> Names { get; } = [];

    public HashSet<string> Required { get; } = new(StringComparer.Ordinal);

    /// <summary>Characters of all that are required.</summary>
    public long RequiredLength { get; private set; }

    public List<(SchemaElement Schema, string Pattern)> Patterns { get; } = [];

    public bool HasAdditional { get; }

    /// <summary>Whether there are no members that no keyword names.</summary>
    public bool IsClosed { get; }

    /// <summary>Where the facts come from, for messages. There is one where anything is said.</summary>
    public SchemaElement Place => _schemas[0];

    /// <summary>Whether a name is among <see cref="Names"/>.</summary>
    public bool IsNamed(string name) => _named.Contains(name);

    /// <summary>The schemas that hold together for a member.</summary>
    /// <param name="name">Its name; null for one that is not declared.</param>
    /// <param name="matches">Whether a pattern of <see cref="Patterns"/> matches the name, by its place.</param>
    public List<SchemaElement> SchemasOf(string? name, Func<int, bool> matches)
    {
        _budget.Spend(_schemas.Count * ((WorkOfPattern * (long)Patterns.Count) + CompileBudget.WorkOfLookup(name ?? "")));
        var result = new List<SchemaElement>();
        foreach (SchemaElement schema in _schemas)
        {
            int before = result.Count;
            if (name is not null && schema.NamedChildren("properties").TryGetValue(name, out SchemaElement? property))
            {
                result.Add(property);
            }

            for (int i = 0; i < Patterns.Count; i++)
            {
                if (Patterns[i].Schema == schema && matches(i))
                {
                    _budget.Spend(CompileBudget.WorkOfLookup(Patterns[i].Pattern));
                    result.Add(schema.NamedChildren("patternProperties")[Patterns[i].Pattern]);
                }
            }

            if (result.Count == before && schema.Member("additionalProperties") is { } additional)
            {
                result.Add(additional);
            }
        }

        return result;
    }

    /// <summary>Whether the schemas say that a member of a name that no pattern matches must not be there.</summary>
    public bool Forbids(string name) => Patterns.Count == 0 && SchemasOf(name, _ => false).Exists(s => s.IsNothing);

    private void AddName(SchemaElement schema, string name, bool isNothing)
    {
        _budget.Spend(CompileBudget.WorkOfLookup(name));
        if (_named.Add(name))
        {
            Names.Add(name);
            _forbidden += isNothing ? 1 : 0;
            RefuseMany(schema);
        }
    }

    private void RefuseMany(SchemaElement schema)
    {
        if (Names.Count - _forbidden > MembersRule.MaxMembers || Patterns.Count > MaxPatterns || _forbidden > MaxForbidden)
        {
            throw schema.Error($"an object has at most {MembersRule.MaxMembers} properties, {MaxPatterns} patterns, and {MaxForbidden} properties that must not be there");
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

            if (SchemaFacts.Count(schema, "maxProperties") is { } most && (!IsClosed || Patterns.Count > 0 || most < Names.Count(n => !Forbids(n))))
            {
                throw schema.Error("'maxProperties' is not supported; declare the properties instead");
            }
        }
    }
}
