// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>A schema inside a document.</summary>
/// <param name="Json">An object, true or false.</param>
/// <param name="Path">JSON pointer as a fragment, such as <c>#/properties/a</c>; also tells schemas apart.</param>
internal sealed record SchemaElement(JsonElement Json, string Path)
{
    public bool IsNothing => Json.ValueKind == JsonValueKind.False;

    /// <summary>The value of a keyword, if it is there.</summary>
    public bool TryGet(string keyword, out JsonElement value)
    {
        value = default;
        return Json.ValueKind == JsonValueKind.Object && Json.TryGetProperty(keyword, out value);
    }

    /// <summary>The schema of a keyword.</summary>
    public SchemaElement Child(string keyword, JsonElement value) => new(value, $"{Path}/{keyword}");

    /// <summary>A schema below a keyword that holds several.</summary>
    public SchemaElement Child(string keyword, string name, JsonElement value) =>
        new(value, $"{Path}/{keyword}/{name.Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal)}");

    /// <summary>The schemas of a list.</summary>
    public IEnumerable<SchemaElement> Children(string keyword)
    {
        if (!TryGet(keyword, out JsonElement list))
        {
            return [];
        }

        return list.ValueKind == JsonValueKind.Array
            ? list.EnumerateArray().Select((item, i) => Child(keyword, i.ToString(System.Globalization.CultureInfo.InvariantCulture), item))
            : throw Error($"'{keyword}' takes a list of schemas");
    }

    /// <summary>The schemas of an object, by name and in order. Of those with one name the last counts, as for readers of JSON.</summary>
    public IEnumerable<(string Name, SchemaElement Schema)> NamedChildren(string keyword)
    {
        if (!TryGet(keyword, out JsonElement names))
        {
            return [];
        }

        return names.ValueKind == JsonValueKind.Object
            ? names.EnumerateObject().GroupBy(p => p.Name, StringComparer.Ordinal).Select(g => (g.Key, Child(keyword, g.Key, g.Last().Value)))
            : throw Error($"'{keyword}' takes an object of schemas");
    }

    /// <summary>Tells schemas that hold together apart from others.</summary>
    public static string KeyOf(IEnumerable<SchemaElement> schemas) =>
        string.Join('\n', schemas.Where(s => s.Json.ValueKind != JsonValueKind.True).Select(s => s.Path).Distinct().Order(StringComparer.Ordinal));

    public KimiConstraintException Error(string problem) => new($"JSON Schema, at {Path}: {problem}.");

    /// <summary>A problem that was found without knowing its place.</summary>
    public KimiConstraintException Error(KimiConstraintException problem) => new($"JSON Schema, at {Path}: {problem.Message}", problem);
}

/// <summary>A JSON Schema with what it refers to.</summary>
internal sealed class SchemaDocument(JsonElement root)
{
    public SchemaElement Root { get; } = new(root, "#");

    /// <summary>The schema that a reference names.</summary>
    /// <exception cref="KimiConstraintException">It is not in this document.</exception>
    public SchemaElement Resolve(SchemaElement from, JsonElement reference)
    {
        string target = reference.ValueKind == JsonValueKind.String ? reference.GetString()! : throw from.Error("'$ref' takes a text");
        if (target is not "#" && !target.StartsWith("#/", StringComparison.Ordinal))
        {
            throw from.Error($"'$ref' to '{target}'; only references inside the schema are supported, such as '#/$defs/Name'");
        }

        JsonElement element = Root.Json;
        foreach (string part in target.Split('/').Skip(1))
        {
            string name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            bool found = element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out element);
            if (!found && element.ValueKind == JsonValueKind.Array && int.TryParse(name, out int index) && index >= 0 && index < element.GetArrayLength())
            {
                (found, element) = (true, element[index]);
            }

            if (!found)
            {
                throw from.Error($"'$ref' to '{target}', which is not there");
            }
        }

        return new SchemaElement(element, target);
    }
}
