// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Whether listed values obey schemas. They are judged as values: the texts that are made of a schema are fewer, without
/// <c>1.0</c> and <c>1e3</c> among the bounded numbers for one.
/// </summary>
internal sealed class ValueCheck(SchemaExpansion expansion, CompileBudget budget)
{
    private const int WorkOfSchema = 32;

    private readonly Dictionary<string, Alternative[]> _alternatives = [];
    private readonly PatternReader _patterns = new(budget);

    /// <summary>The values of a list that obey all that stands beside it.</summary>
    public List<JsonElement> Valid(SchemaFacts facts)
    {
        var alternative = new Alternative(facts, budget);
        return [.. facts.Values!.Where(v => IsValid(v, alternative))];
    }

    private bool IsValid(JsonElement value, IReadOnlyList<SchemaElement> schemas)
    {
        string key = SchemaElement.KeyOf(schemas);
        if (!_alternatives.TryGetValue(key, out Alternative[]? alternatives))
        {
            alternatives = [.. expansion.Expand(schemas).Select(a => new Alternative(new SchemaFacts(a, budget), budget))];
            _alternatives.Add(key, alternatives);
        }

        return Array.Exists(alternatives, a => a.Lists(value) && IsValid(value, a));
    }

    private bool IsValid(JsonElement value, Alternative alternative)
    {
        SchemaFacts facts = alternative.Facts;
        budget.Spend(WorkOfSchema * (1L + facts.Schemas.Count));
        return (SchemaFacts.TypeOf(value) & facts.Types) != 0 && value.ValueKind switch
        {
            JsonValueKind.Number => IsWithin(JsonNumber.Of(value), facts),
            JsonValueKind.String => IsValid(value.GetString()!, facts),
            JsonValueKind.Array => AreValidItems(value, alternative),
            JsonValueKind.Object => AreValidMembers(value, alternative.Members),
            _ => true,
        };
    }

    private static bool IsWithin(JsonNumber value, SchemaFacts facts) =>
        (facts.Min is not { } min || value > min.Value || (value == min.Value && !min.Exclusive))
        && (facts.Max is not { } max || value < max.Value || (value == max.Value && !max.Exclusive));

    private bool IsValid(string text, SchemaFacts facts)
    {
        int length = text.EnumerateRunes().Count();
        return length >= facts.MinLength && !(length > facts.MaxLength) && facts.Patterns.TrueForAll(p => _patterns.Matches(p.Schema, p.Pattern, text));
    }

    private bool AreValidItems(JsonElement array, Alternative alternative)
    {
        int length = array.GetArrayLength();
        return length >= alternative.Facts.MinItems && !(length > alternative.Facts.MaxItems) && array.EnumerateArray().Select((item, i) => IsValid(item, alternative.Item(i))).All(v => v);
    }

    private bool AreValidMembers(JsonElement value, ObjectFacts facts)
    {
        if (!facts.Required.All(n => value.TryGetProperty(n, out _)))
        {
            return false;
        }

        foreach (JsonProperty member in value.EnumerateObject())
        {
            budget.Spend(WorkOfSchema * (1L + facts.Names.Count + facts.Patterns.Count));
            bool[] matches = [.. facts.Patterns.Select(p => _patterns.Matches(p.Schema, p.Pattern, member.Name))];
            bool named = facts.IsNamed(member.Name) || Array.Exists(matches, m => m);
            if ((facts.IsClosed && !named) || !IsValid(member.Value, facts.SchemasOf(member.Name, i => matches[i])))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>What schemas say together, and what more is made of it once it is asked for.</summary>
    private sealed class Alternative(SchemaFacts facts, CompileBudget budget)
    {
        private readonly Dictionary<int, List<SchemaElement>> _items = [];
        private HashSet<string>? _keys;
        private int _prefix = -1;

        public SchemaFacts Facts => facts;

        public ObjectFacts Members => field ??= new ObjectFacts(facts.Schemas, budget);

        /// <summary>Whether a value is among the only ones, if there are such.</summary>
        public bool Lists(JsonElement value) => facts.Values is null || (_keys ??= JsonValueKey.Of(facts.Values, budget)).Contains(JsonValueKey.Of(value, budget));

        public List<SchemaElement> Item(int index)
        {
            _prefix = _prefix < 0 ? ArrayCompiler.PrefixOf(facts) : _prefix;
            int place = Math.Min(index, _prefix);
            if (!_items.TryGetValue(place, out List<SchemaElement>? item))
            {
                budget.Spend(WorkOfSchema * (1L + place));
                item = ArrayCompiler.ItemAt(facts, place);
                _items.Add(place, item);
            }

            return item;
        }
    }
}
