// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Refuses keywords that would change which values are valid and are not enforced. Unknown ones are annotations, as the specification has it.</summary>
internal static class SchemaKeywords
{
    private static readonly Dictionary<string, string> s_refused = new(StringComparer.Ordinal)
    {
        ["not"] = "say what is allowed instead",
        ["if"] = "use 'anyOf' with one schema per case",
        ["then"] = "use 'anyOf' with one schema per case",
        ["else"] = "use 'anyOf' with one schema per case",
        ["dependentRequired"] = "use 'anyOf' with one schema per case",
        ["dependentSchemas"] = "use 'anyOf' with one schema per case",
        ["dependencies"] = "use 'anyOf' with one schema per case",
        ["unevaluatedProperties"] = "use 'additionalProperties'",
        ["unevaluatedItems"] = "use 'items'",
        ["additionalItems"] = "use 'prefixItems' and 'items'",
        ["contains"] = "use 'items' or 'prefixItems'",
        ["propertyNames"] = "use 'patternProperties' with 'additionalProperties': false",
        ["multipleOf"] = "use 'enum', or check the value afterwards",
        ["$dynamicRef"] = "use '$ref'",
        ["$recursiveRef"] = "use '$ref'",
    };

    public static void Check(SchemaElement schema)
    {
        if (schema.Json.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return;
        }

        if (schema.Json.ValueKind != JsonValueKind.Object)
        {
            throw schema.Error($"expected a schema, that is an object, true or false; found {schema.Json.ValueKind}");
        }

        foreach ((string keyword, SchemaElement value) in schema.Members)
        {
            bool isSimple = (keyword == "propertyNames" && AreAllNames(value.Json)) || (keyword == "not" && schema.IsNothing);
            if (s_refused.TryGetValue(keyword, out string? instead) && !isSimple)
            {
                throw schema.Error($"'{keyword}' is not supported; {instead}");
            }
        }

        if (schema.TryGet("uniqueItems", out JsonElement unique) && unique.ValueKind != JsonValueKind.False)
        {
            throw schema.Error("'uniqueItems' is not supported; check the value afterwards");
        }
    }

    /// <summary>Whether every name is valid, which is all that generators say of maps from texts.</summary>
    private static bool AreAllNames(JsonElement names) =>
        names.ValueKind == JsonValueKind.True || (names.ValueKind == JsonValueKind.Object && names.EnumerateObject().All(k => k.NameEquals("type") && k.Value.ValueKind == JsonValueKind.String && k.Value.ValueEquals("string")));
}
