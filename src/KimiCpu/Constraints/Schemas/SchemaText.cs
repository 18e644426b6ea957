// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Refuses documents that cannot be read as a whole, before anything is made of them.</summary>
internal sealed class SchemaText
{
    /// <summary>More than any reader takes unless it is told to.</summary>
    private const int MaxDepth = 128;

    private const int WorkOfElement = 64;

    private readonly CompileBudget _budget;
    private readonly List<string> _path = [];

    private SchemaText(CompileBudget budget) => _budget = budget;

    /// <exception cref="KimiConstraintException">A text is not valid UTF-16, or values nest too deep.</exception>
    public static void Check(JsonElement schema, CompileBudget budget) => new SchemaText(budget).Check(schema, 0);

    private void Check(JsonElement at, int depth)
    {
        _budget.Spend(WorkOfElement);
        if (depth > MaxDepth)
        {
            throw Error($"more than {MaxDepth} levels of nesting; use '$ref' and '$defs'");
        }

        switch (at.ValueKind)
        {
            case JsonValueKind.String:
                Read(at.GetString);
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in at.EnumerateArray())
                {
                    Check(item, depth + 1);
                }

                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in at.EnumerateObject())
                {
                    _path.Add(Read(() => property.Name));
                    Check(property.Value, depth + 1);
                    _path.RemoveAt(_path.Count - 1);
                }

                break;
        }
    }

    private string Read(Func<string?> read)
    {
        try
        {
            string text = read()!;
            _budget.Spend(text.Length);
            return text;
        }
        catch (InvalidOperationException)
        {
            throw Error("a text with half of a surrogate pair, which is no text; write both halves, as in \\ud83d\\ude00");
        }
    }

    private KimiConstraintException Error(string problem) => SchemaPath.Error(string.Join('/', _path.Select(SchemaPath.Escape).Prepend("#")), problem);
}
