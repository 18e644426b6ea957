// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Text.Json;

namespace KimiCpu.Chat;

/// <summary>Tool declarations in the style of TypeScript, as the tokenizer of K2.5 writes them.</summary>
internal static class TypeScriptTools
{
    /// <summary>Writes all tools; false where a schema cannot be expressed.</summary>
    public static bool TryWrite(IReadOnlyList<KimiTool> tools, [NotNullWhen(true)] out string? text)
    {
        try
        {
            IEnumerable<string> functions = tools.Select(t => new TypeScriptFunction(t.Declaration.GetProperty("function")).Write());
            text = $"# Tools\n\n## functions\nnamespace functions {{\n{string.Join('\n', functions)}\n}}\n";
            return true;
        }
        catch (NotExpressibleException)
        {
            text = null;
            return false;
        }
    }
}

/// <summary>A schema has no form in TypeScript.</summary>
internal sealed class NotExpressibleException(string found) : Exception($"This has no form in TypeScript: {found}");

/// <summary>What a JSON schema is, decided in this order.</summary>
internal enum SchemaKind
{
    Any,
    Null,
    Reference,
    AnyOf,
    Enumeration,
    Union,
    Object,
    Array,
    Scalar,
}

/// <summary>Looks into JSON schemas; anything unexpected is not expressible.</summary>
internal static class JsonSchema
{
    public static SchemaKind KindOf(JsonElement schema) => schema.ValueKind switch
    {
        JsonValueKind.True => SchemaKind.Any,
        JsonValueKind.False => SchemaKind.Null,
        JsonValueKind.Object when Has(schema, "$ref") => SchemaKind.Reference,
        JsonValueKind.Object when Has(schema, "anyOf") => SchemaKind.AnyOf,
        JsonValueKind.Object when Has(schema, "enum") => SchemaKind.Enumeration,
        JsonValueKind.Object when schema.TryGetProperty("type", out JsonElement type) => type.ValueKind == JsonValueKind.Array ? SchemaKind.Union : Text(type) switch
        {
            "object" => SchemaKind.Object,
            "array" => SchemaKind.Array,
            _ => SchemaKind.Scalar,
        },
        JsonValueKind.Object when !schema.EnumerateObject().Any() => SchemaKind.Any,
        _ => throw new NotExpressibleException(schema.GetRawText()),
    };

    public static bool Has(JsonElement schema, string name) => schema.TryGetProperty(name, out _);

    public static string Text(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()! : throw new NotExpressibleException(value.GetRawText());

    public static string TextOf(JsonElement schema, string name) => Text(schema.GetProperty(name));

    /// <summary>The items of an array; none where the member is missing.</summary>
    public static IEnumerable<JsonElement> Items(JsonElement schema, string name) =>
        !schema.TryGetProperty(name, out JsonElement items) ? []
        : items.ValueKind == JsonValueKind.Array ? items.EnumerateArray()
        : throw new NotExpressibleException(items.GetRawText());

    /// <summary>The members of an object by rising key; none where it is missing, null or otherwise empty.</summary>
    public static IEnumerable<KeyValuePair<string, JsonElement>> Members(JsonElement schema, string name) =>
        !schema.TryGetProperty(name, out JsonElement members) || members.ValueKind == JsonValueKind.Null ? []
        : members.ValueKind == JsonValueKind.Object ? PythonJson.Members(members, sorted: true)
        : throw new NotExpressibleException(members.GetRawText());

    /// <summary>A description; null where there is none.</summary>
    public static string? Description(JsonElement schema) =>
        schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty("description", out JsonElement text) && text.ValueKind != JsonValueKind.Null && Text(text).Length > 0
            ? text.GetString()
            : null;

    /// <summary>The schema of an array's items; null where any will do.</summary>
    public static JsonElement? ItemsOf(JsonElement schema) =>
        schema.TryGetProperty("items", out JsonElement items)
            && items.ValueKind is not (JsonValueKind.Null or JsonValueKind.False)
            && !(items.ValueKind == JsonValueKind.Object && !items.EnumerateObject().Any())
            ? items
            : null;
}

/// <summary>Writes the declaration of one function.</summary>
internal sealed class TypeScriptFunction
{
    private const string DefinitionPrefix = "#/$defs/";

    private static readonly Dictionary<string, string> s_unionTypes = new()
    {
        ["string"] = "string",
        ["number"] = "number",
        ["integer"] = "number",
        ["boolean"] = "boolean",
        ["null"] = "null",
        ["object"] = "{}",
        ["array"] = "Array<any>",
    };

    private readonly JsonElement _function;
    private readonly OrderedDictionary<string, JsonElement> _definitions = [];
    private bool _refersToItself;

    public TypeScriptFunction(JsonElement function) => _function = function;

    /// <exception cref="NotExpressibleException">A schema has no form in TypeScript.</exception>
    public string Write()
    {
        JsonElement parameters = Parameters();
        ScanObject(parameters);
        var blocks = new List<string>();

        // The parameters alone decide, not the definitions that are scanned below.
        bool recursive = _refersToItself;
        if (recursive)
        {
            HashSet<string> required = Required(parameters);
            string body = string.Join(",\n", JsonSchema.Members(parameters, "properties").Select(p => Field(p.Key, p.Value, !required.Contains(p.Key), "  ")));
            blocks.Add($"interface parameters {{{(body.Length > 0 ? $"\n{body}\n" : "")}}}");
        }

        foreach ((string name, JsonElement schema) in _definitions.ToArray())
        {
            // A schema that is only true or false is a type, but no interface.
            Scan(schema.ValueKind == JsonValueKind.Object ? schema : throw new NotExpressibleException(schema.GetRawText()));
            string head = JsonSchema.Description(schema) is { } text ? Comment(text, "") + "\n" : "";
            blocks.Add($"{head}interface {name} {Type(schema, "")}");
        }

        if (JsonSchema.Description(_function) is { } description)
        {
            blocks.Add(Comment(description, ""));
        }

        blocks.Add($"type {JsonSchema.TextOf(_function, "name")} = (_: {(recursive ? "parameters" : ObjectType(parameters, ""))}) => any;");
        return string.Join('\n', blocks);
    }

    private JsonElement Parameters()
    {
        bool given = _function.TryGetProperty("parameters", out JsonElement parameters) && parameters.ValueKind != JsonValueKind.Null;
        return !given ? JsonElement.Parse("{}")
            : parameters.ValueKind == JsonValueKind.Object ? parameters
            : throw new NotExpressibleException(parameters.GetRawText());
    }

    /// <summary>Collects definitions and references to the whole, in reading order.</summary>
    private void Scan(JsonElement schema)
    {
        switch (JsonSchema.KindOf(schema))
        {
            case SchemaKind.Object:
                ScanObject(schema);
                break;
            case SchemaKind.Array:
                if (JsonSchema.ItemsOf(schema) is { } items)
                {
                    Scan(items);
                }

                break;
            case SchemaKind.AnyOf:
                foreach (JsonElement one in JsonSchema.Items(schema, "anyOf"))
                {
                    Scan(one);
                }

                break;
            case SchemaKind.Reference:
                ScanReference(JsonSchema.TextOf(schema, "$ref"));
                break;
            case SchemaKind.Enumeration:
                CheckEnumeration(schema);
                break;
            case SchemaKind.Union:
                _ = UnionType(schema);
                break;
        }
    }

    private void ScanObject(JsonElement schema)
    {
        foreach ((string name, JsonElement definition) in JsonSchema.Members(schema, "$defs"))
        {
            _definitions[name] = definition;
        }

        if (schema.TryGetProperty("additionalProperties", out JsonElement additional) && additional.ValueKind == JsonValueKind.Object)
        {
            Scan(additional);
        }

        foreach ((_, JsonElement property) in JsonSchema.Members(schema, "properties"))
        {
            Scan(property);
        }
    }

    private void ScanReference(string reference)
    {
        if (reference == "#")
        {
            _refersToItself = true;
        }
        else if (!reference.StartsWith(DefinitionPrefix, StringComparison.Ordinal) || !_definitions.ContainsKey(LastPart(reference)))
        {
            throw new NotExpressibleException(reference);
        }
    }

    private static string LastPart(string reference) => reference[(reference.LastIndexOf('/') + 1)..];

    private static void CheckEnumeration(JsonElement schema)
    {
        if (!schema.TryGetProperty("type", out JsonElement type) || type.ValueKind == JsonValueKind.Null)
        {
            return;
        }

        string name = type.ValueKind == JsonValueKind.Array ? OneType(type) : JsonSchema.Text(type);
        foreach (JsonElement value in JsonSchema.Items(schema, "enum"))
        {
            bool boolean = value.ValueKind is JsonValueKind.True or JsonValueKind.False;
            bool number = value.ValueKind == JsonValueKind.Number;

            // Python counts booleans among the whole numbers.
            bool fits = value.ValueKind == JsonValueKind.Null || name switch
            {
                "string" => value.ValueKind == JsonValueKind.String,
                "number" => number || boolean,
                "integer" => boolean || (number && !value.GetRawText().AsSpan().ContainsAny('.', 'e', 'E')),
                "boolean" => boolean,
                _ => true,
            };
            if (!fits)
            {
                throw new NotExpressibleException(schema.GetRawText());
            }
        }
    }

    private static string OneType(JsonElement types)
    {
        string[] names = [.. types.EnumerateArray().Select(JsonSchema.Text)];
        return names switch
        {
            [string only] => only,
            ["null", string other] => other,
            [string other, "null"] => other,
            _ => throw new NotExpressibleException(types.GetRawText()),
        };
    }

    private static string Comment(string text, string indent) =>
        string.Join('\n', text.Split('\n').Select(line => line.Length > 0 ? $"{indent}// {line}" : line));

    /// <summary>The comment lines above a schema, each with its line break.</summary>
    private static string Comments(JsonElement schema, string indent)
    {
        string description = JsonSchema.Description(schema) is { } text ? Comment(text, indent) + "\n" : "";
        string[] limits = [.. LimitNames(schema).Where(n => JsonSchema.Has(schema, n)).Select(n => $"{n}: {Plain(schema.GetProperty(n))}")];
        return limits.Length > 0 ? $"{description}{indent}// {string.Join(", ", limits)}\n" : description;
    }

    /// <summary>By rising name.</summary>
    private static string[] LimitNames(JsonElement schema) => JsonSchema.KindOf(schema) switch
    {
        SchemaKind.Array => ["maxItems", "minItems"],
        SchemaKind.Scalar => JsonSchema.TextOf(schema, "type") switch
        {
            "string" => ["maxLength", "minLength", "pattern"],
            "number" or "integer" => ["maximum", "minimum"],
            _ => [],
        },
        _ => [],
    };

    /// <summary>A value as Python's <c>str</c> shows it.</summary>
    private static string Plain(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Number => PythonJson.Number(value),
        JsonValueKind.True => "True",
        JsonValueKind.False => "False",
        JsonValueKind.Null => "None",
        _ => throw new NotExpressibleException(value.GetRawText()),
    };

    private string Type(JsonElement schema, string indent) => JsonSchema.KindOf(schema) switch
    {
        SchemaKind.Any => "any",
        SchemaKind.Null => "null",
        SchemaKind.Reference => JsonSchema.TextOf(schema, "$ref") is "#" ? "parameters" : LastPart(JsonSchema.TextOf(schema, "$ref")),
        SchemaKind.AnyOf => string.Join(" | ", JsonSchema.Items(schema, "anyOf").Select(s => Type(s, indent))),
        SchemaKind.Enumeration => string.Join(" | ", JsonSchema.Items(schema, "enum").Select(v => v.ValueKind == JsonValueKind.String ? $"\"{v.GetString()}\"" : Plain(v))),
        SchemaKind.Union => UnionType(schema),
        SchemaKind.Array => ArrayType(schema, indent),
        SchemaKind.Object => ObjectType(schema, indent),
        _ => JsonSchema.TextOf(schema, "type") is "integer" ? "number" : JsonSchema.TextOf(schema, "type"),
    };

    private static string UnionType(JsonElement schema) => string.Join(
        " | ",
        JsonSchema.Items(schema, "type").Select(t => s_unionTypes.GetValueOrDefault(JsonSchema.Text(t)) ?? throw new NotExpressibleException(t.GetRawText())));

    private string ArrayType(JsonElement schema, string indent)
    {
        if (JsonSchema.ItemsOf(schema) is not { } items)
        {
            return "Array<any>";
        }

        string inner = indent + "  ";
        string comments = Comments(items, inner);
        return comments.Length == 0 ? $"Array<{Type(items, indent)}>" : $"Array<\n{comments}{inner}{Type(items, inner)}\n{indent}>";
    }

    private string ObjectType(JsonElement schema, string indent)
    {
        string inner = indent + "  ";
        HashSet<string> required = Required(schema);
        List<string> parts = [.. JsonSchema.Members(schema, "properties")
            .OrderBy(p => !required.Contains(p.Key))
            .Select(p => Field(p.Key, p.Value, !required.Contains(p.Key), inner))];
        if (schema.TryGetProperty("additionalProperties", out JsonElement additional) && additional.ValueKind != JsonValueKind.Null)
        {
            string type = additional.ValueKind == JsonValueKind.False ? "never" : Type(additional, inner);
            parts.Add($"{inner}[k: string]: {type}");
        }

        return parts.Count > 0 ? $"{{\n{string.Join(",\n", parts)}\n{indent}}}" : "{}";
    }

    private static HashSet<string> Required(JsonElement schema) =>
        [.. JsonSchema.Items(schema, "required").Where(r => r.ValueKind == JsonValueKind.String).Select(r => r.GetString()!)];

    private string Field(string name, JsonElement schema, bool optional, string indent)
    {
        string comments = Comments(schema, indent);
        if (schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty("default", out JsonElement value) && value.ValueKind != JsonValueKind.Null)
        {
            bool bare = value.ValueKind is JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False;
            comments += $"{indent}// Default: {(bare ? Plain(value) : PythonJson.Write(value, sorted: true))}\n";
        }

        return $"{comments}{indent}{name}{(optional ? "?" : "")}: {Type(schema, indent)}";
    }
}
