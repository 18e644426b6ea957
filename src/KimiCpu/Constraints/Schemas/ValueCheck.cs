// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
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
    public IEnumerable<JsonElement> Valid(SchemaFacts facts)
    {
        var alternative = new Alternative(facts, budget);
        return facts.Values!.Items.Where(v => IsValid(v, alternative));
    }

    private bool IsValid(JsonElement value, List<SchemaElement> schemas)
    {
        budget.Spend(WorkOfSchema * (1L + schemas.Count));
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
        budget.Spend((WorkOfSchema * (1L + facts.Schemas.Count)) + LengthOf(value));
        return (SchemaFacts.TypeOf(value) & facts.Types) != 0 && value.ValueKind switch
        {
            JsonValueKind.Number => IsWithin(JsonNumber.Of(value), facts),
            JsonValueKind.String => IsValidText(value, facts),
            JsonValueKind.Array => AreValidItems(value, alternative),
            JsonValueKind.Object => AreValidMembers(value, alternative.Members),
            _ => true,
        };
    }

    /// <summary>Characters that are read to know a value, without its items and members.</summary>
    private static int LengthOf(JsonElement value) => value.ValueKind is JsonValueKind.String or JsonValueKind.Number ? JsonMarshal.GetRawUtf8Value(value).Length : 0;

    private static bool IsWithin(JsonNumber value, SchemaFacts facts) =>
        (facts.Min is not { } min || value > min.Value || (value == min.Value && !min.Exclusive))
        && (facts.Max is not { } max || value < max.Value || (value == max.Value && !max.Exclusive));

    private bool IsValidText(JsonElement value, SchemaFacts facts)
    {
        if (facts.MinLength == 0 && facts.MaxLength is null && facts.Patterns.Count == 0)
        {
            return true;
        }

        string text = value.GetString()!;
        int length = CountOfCodePoints(text);
        return length >= facts.MinLength && !(length > facts.MaxLength) && facts.Patterns.TrueForAll(p => _patterns.Matches(p.Schema, p.Pattern, text));
    }

    /// <summary>Surrogates come in pairs: others were refused.</summary>
    private static int CountOfCodePoints(string text)
    {
        int count = text.Length;
        foreach (char c in text)
        {
            count -= char.IsLowSurrogate(c) ? 1 : 0;
        }

        return count;
    }

    private bool AreValidItems(JsonElement array, Alternative alternative)
    {
        int length = array.GetArrayLength();
        return length >= alternative.Facts.MinItems && !(length > alternative.Facts.MaxItems) && array.EnumerateArray().Select((item, i) => IsValid(item, alternative.Item(i))).All(v => v);
    }

    private bool AreValidMembers(JsonElement value, ObjectFacts facts)
    {
        if (!HasRequired(value, facts))
        {
            return false;
        }

        foreach (JsonProperty member in value.EnumerateObject())
        {
            string name = member.Name;
            budget.Spend((WorkOfSchema * (1L + facts.Names.Count + facts.Patterns.Count)) + name.Length);
            bool[] matches = [.. facts.Patterns.Select(p => _patterns.Matches(p.Schema, p.Pattern, name))];
            bool named = facts.IsNamed(name) || Array.Exists(matches, m => m);
            if ((facts.IsClosed && !named) || !IsValid(member.Value, facts.SchemasOf(name, i => matches[i])))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The members are read once for all names: to look for each of them in the object would be to read all members each time.</summary>
    private bool HasRequired(JsonElement value, ObjectFacts facts)
    {
        if (facts.Required.Count == 0)
        {
            return true;
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (JsonProperty member in value.EnumerateObject())
        {
            string name = member.Name;
            budget.Spend(WorkOfSchema + name.Length);
            names.Add(name);
        }

        foreach (string name in facts.Required)
        {
            budget.Spend(CompileBudget.WorkOfLookup(name));
            if (!names.Contains(name))
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

        public SchemaFacts Facts => facts;

        public ObjectFacts Members => field ??= new ObjectFacts(facts.Schemas, budget);

        private ArrayFacts Array => field ??= new ArrayFacts(facts.Schemas, budget);

        /// <summary>Whether a value is among the only ones, if there are such.</summary>
        public bool Lists(JsonElement value) => facts.Values is null || facts.Values.Keys.Contains(JsonValueKey.Of(value, budget));

        public List<SchemaElement> Item(int index)
        {
            int place = Math.Min(index, Array.Prefix);
            if (!_items.TryGetValue(place, out List<SchemaElement>? item))
            {
                item = Array.SchemasAt(place);
                _items.Add(place, item);
            }

            return item;
        }
    }
}
