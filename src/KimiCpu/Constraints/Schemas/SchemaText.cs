// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Refuses documents that cannot be read as a whole, before anything is made of them.</summary>
internal static class SchemaText
{
    /// <summary>More than any reader takes unless it is told to.</summary>
    private const int MaxDepth = 128;

    private const int WorkOfElement = 64;

    /// <exception cref="KimiConstraintException">A text is not valid UTF-16, or values nest too deep.</exception>
    public static void Check(JsonElement schema, CompileBudget budget) => Check(new SchemaElement(schema, "#"), 0, budget);

    private static void Check(SchemaElement at, int depth, CompileBudget budget)
    {
        budget.Spend(WorkOfElement);
        if (depth > MaxDepth)
        {
            throw at.Error($"more than {MaxDepth} levels of nesting; use '$ref' and '$defs'");
        }

        switch (at.Json.ValueKind)
        {
            case JsonValueKind.String:
                _ = Read(at, at.Json.GetString);
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in at.Json.EnumerateArray())
                {
                    Check(at with { Json = item }, depth + 1, budget);
                }

                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in at.Json.EnumerateObject())
                {
                    string name = Read(at, () => property.Name)!;
                    Check(at.Child(name, property.Value), depth + 1, budget);
                }

                break;
        }
    }

    private static string? Read(SchemaElement at, Func<string?> read)
    {
        try
        {
            return read();
        }
        catch (InvalidOperationException)
        {
            throw at.Error("a text with half of a surrogate pair, which is no text; write both halves, as in \\ud83d\\ude00");
        }
    }
}
