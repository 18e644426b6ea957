// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// Listed values, with what is known of them. As many alternatives as there may be can list the same ones, so one list serves all of them.
/// </summary>
internal sealed class ValueList
{
    /// <summary>What is kept of a value.</summary>
    private const int CellsOfValue = 4;

    /// <summary>What is kept of a key without its characters: a text in a table.</summary>
    private const int CellsOfKey = 16;

    private readonly CompileBudget _budget;
    private JsonTypes? _types;

    /// <param name="items">The values; the list keeps them.</param>
    /// <param name="budget">What they may cost.</param>
    public ValueList(IReadOnlyList<JsonElement> items, CompileBudget budget)
    {
        budget.CountCells(CellsOfValue * (long)items.Count);
        (Items, _budget) = (items, budget);
    }

    public IReadOnlyList<JsonElement> Items { get; }

    /// <summary>What finds a value; see <see cref="JsonValueKey"/>.</summary>
    public HashSet<string> Keys => field ??= MakeKeys();

    /// <summary>Characters of all keys, if they are made.</summary>
    public long KeyLength { get; private set; }

    /// <summary>The kinds of the values.</summary>
    public JsonTypes Types => _types ??= FindTypes();

    /// <summary>The values that another list has, too, as this list writes them.</summary>
    public ValueList In(ValueList other) => new([.. Items.Where(v => other.Keys.Contains(JsonValueKey.Of(v, _budget)))], _budget);

    private HashSet<string> MakeKeys()
    {
        var keys = new HashSet<string>(StringComparer.Ordinal);
        foreach (JsonElement value in Items)
        {
            string key = JsonValueKey.Of(value, _budget);
            if (keys.Add(key))
            {
                KeyLength += key.Length;
                _budget.CountCells(CellsOfKey + (key.Length / 2));
            }
        }

        return keys;
    }

    private JsonTypes FindTypes()
    {
        JsonTypes types = JsonTypes.None;
        foreach (JsonElement value in Items)
        {
            _budget.Spend(value.ValueKind == JsonValueKind.Number ? JsonMarshal.GetRawUtf8Value(value).Length : 1);
            types |= SchemaFacts.TypeOf(value);
        }

        return types;
    }
}
