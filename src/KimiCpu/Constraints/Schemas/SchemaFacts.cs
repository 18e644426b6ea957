// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Kinds of values. A number is whole or has a fraction.</summary>
[Flags]
internal enum JsonTypes
{
    None = 0,
    Null = 1,
    Boolean = 2,
    Object = 4,
    Array = 8,
    String = 16,
    Integer = 32,
    Fraction = 64,
    Number = Integer | Fraction,
    All = 127,
}

/// <summary>What schemas that hold together say of one value, apart from combinations of schemas.</summary>
internal sealed class SchemaFacts
{
    private const int MaxCount = 1_000_000;

    /// <summary>All names that <c>type</c> knows.</summary>
    private const int MaxTypes = 7;

    /// <summary>For a schema, or a listed value.</summary>
    private const int WorkOfSchema = 32;

    private readonly CompileBudget _budget;

    public SchemaFacts(IReadOnlyList<SchemaElement> schemas, CompileBudget budget)
    {
        (Schemas, _budget) = (schemas, budget);
        var formats = new List<(SchemaElement Schema, string Name)>();
        foreach (SchemaElement schema in schemas)
        {
            budget.Spend(WorkOfSchema);
            Types &= TypesOf(schema);
            ReadValues(schema);
            ReadString(schema);
            if (schema.TryGet("format", out JsonElement format))
            {
                formats.Add((schema, format.ValueKind == JsonValueKind.String ? format.GetString()! : throw schema.Error("'format' takes a text")));
            }

            ReadNumber(schema);
            (MinItems, MaxItems) = ReadBounds(schema, "minItems", "maxItems", MinItems, MaxItems);
        }

        // Who lists values knows which; patterns of formats are narrower than the formats.
        if (Values is null)
        {
            formats.ForEach(f => ReadFormat(f.Schema, f.Name));
        }
    }

    public IReadOnlyList<SchemaElement> Schemas { get; }

    public JsonTypes Types { get; private set; } = JsonTypes.All;

    /// <summary>The only values; null for no such list.</summary>
    public ValueList? Values { get; private set; }

    public int MinLength { get; private set; }

    public int? MaxLength { get; private set; }

    public List<(SchemaElement Schema, string Pattern)> Patterns { get; } = [];

    /// <summary>Patterns of formats; they match whole texts. None beside listed values.</summary>
    public List<string> Formats { get; } = [];

    public NumberBound? Min { get; private set; }

    public NumberBound? Max { get; private set; }

    public int MinItems { get; private set; }

    public int? MaxItems { get; private set; }

    /// <summary>Where the facts come from, for messages. There is one where anything is said.</summary>
    public SchemaElement Place => Schemas[0];

    /// <summary>The kind of a value.</summary>
    public static JsonTypes TypeOf(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => JsonTypes.Null,
        JsonValueKind.True or JsonValueKind.False => JsonTypes.Boolean,
        JsonValueKind.Object => JsonTypes.Object,
        JsonValueKind.Array => JsonTypes.Array,
        JsonValueKind.String => JsonTypes.String,
        _ => JsonNumber.Of(value).IsInteger ? JsonTypes.Integer : JsonTypes.Fraction,
    };

    /// <summary>A keyword that takes a count; null where it is not there.</summary>
    public static int? Count(SchemaElement schema, string keyword)
    {
        if (!schema.TryGet(keyword, out JsonElement value))
        {
            return null;
        }

        bool valid = value.ValueKind == JsonValueKind.Number && value.TryGetDecimal(out decimal count) && decimal.IsInteger(count) && count >= 0;
        if (!valid)
        {
            throw schema.Error($"'{keyword}' takes a whole number from 0; found {Excerpt.Of(value.GetRawText())}");
        }

        return (int)Math.Min(value.GetDecimal(), MaxCount + 1) is var bounded && bounded > MaxCount ? throw schema.Error($"'{keyword}' above {MaxCount:N0} is not supported") : bounded;
    }

    private static JsonTypes TypesOf(SchemaElement schema)
    {
        if (!schema.TryGet("type", out JsonElement type))
        {
            return JsonTypes.All;
        }

        if (type.ValueKind == JsonValueKind.Array && type.GetArrayLength() is var length and > MaxTypes)
        {
            throw schema.Error($"'type' takes each of its {MaxTypes} names once at most; found {length:N0}");
        }

        JsonTypes types = type.ValueKind == JsonValueKind.Array
            ? type.EnumerateArray().Aggregate(JsonTypes.None, (all, one) => all | TypeNamed(schema, one))
            : TypeNamed(schema, type);
        return schema.TryGet("nullable", out JsonElement nullable) && nullable.ValueKind == JsonValueKind.True ? types | JsonTypes.Null : types;
    }

    private static JsonTypes TypeNamed(SchemaElement schema, JsonElement name) => (name.ValueKind == JsonValueKind.String ? name.GetString() : null) switch
    {
        "null" => JsonTypes.Null,
        "boolean" => JsonTypes.Boolean,
        "object" => JsonTypes.Object,
        "array" => JsonTypes.Array,
        "string" => JsonTypes.String,
        "integer" => JsonTypes.Integer,
        "number" => JsonTypes.Number,
        _ => throw schema.Error($"'type' takes null, boolean, object, array, string, integer or number; found {Excerpt.Of(name.GetRawText())}"),
    };

    private static (int Min, int? Max) ReadBounds(SchemaElement schema, string minKeyword, string maxKeyword, int min, int? max)
    {
        int? most = Count(schema, maxKeyword);
        return (Math.Max(min, Count(schema, minKeyword) ?? 0), max is null || most < max ? most ?? max : max);
    }

    private void ReadValues(SchemaElement schema)
    {
        if (schema.Member("const") is { } only)
        {
            Restrict(only.Only);
        }

        if (schema.Member("enum") is { } list)
        {
            Restrict(list.Json.ValueKind == JsonValueKind.Array ? list.Listed : throw schema.Error("'enum' takes a list of values"));
        }
    }

    private void Restrict(ValueList values)
    {
        _budget.Spend(WorkOfSchema * (long)values.Items.Count);
        Values = Values is null ? values : Values.In(values);
    }

    private void ReadString(SchemaElement schema)
    {
        (MinLength, MaxLength) = ReadBounds(schema, "minLength", "maxLength", MinLength, MaxLength);
        if (schema.TryGet("pattern", out JsonElement pattern))
        {
            Patterns.Add((schema, pattern.ValueKind == JsonValueKind.String ? pattern.GetString()! : throw schema.Error("'pattern' takes a text")));
        }
    }

    private void ReadFormat(SchemaElement schema, string format)
    {
        switch (format)
        {
            case "int32":
                Tighten(At(int.MinValue), At(int.MaxValue));
                break;
            case "int8":
                Tighten(At(sbyte.MinValue), At(sbyte.MaxValue));
                break;
            case "int16":
                Tighten(At(short.MinValue), At(short.MaxValue));
                break;
            case "uint8":
                Tighten(At(0), At(byte.MaxValue));
                break;
            case "uint16":
                Tighten(At(0), At(ushort.MaxValue));
                break;
            case "uint32":
                Tighten(At(0), At(uint.MaxValue));
                break;
            case "uint64" or "uint":
                Tighten(At(0), null);
                break;
            case var _ when FormatPatterns.Of(format) is { } pattern:
                Formats.Add(pattern);
                break;
            case var _ when FormatPatterns.IsNotEnforced(format):
                throw schema.Error($"'format' {format} is not supported; {string.Join(", ", FormatPatterns.Names)} are. Use 'pattern', or leave it out");
            default:
                // Names that the specification does not know are annotations, as unknown keywords are; int64, float, double and
                // decimal fit all numbers that are generated.
                break;
        }
    }

    private void ReadNumber(SchemaElement schema)
    {
        Tighten(Bound(schema, "minimum", Excludes(schema, "exclusiveMinimum")), Bound(schema, "maximum", Excludes(schema, "exclusiveMaximum")));
        Tighten(ExclusiveBound(schema, "exclusiveMinimum", "minimum"), ExclusiveBound(schema, "exclusiveMaximum", "maximum"));
    }

    private void Tighten(NumberBound? min, NumberBound? max)
    {
        if (min is not null && (Min is null || min.Value > Min.Value || (min.Value == Min.Value && min.Exclusive)))
        {
            Min = min;
        }

        if (max is not null && (Max is null || max.Value < Max.Value || (max.Value == Max.Value && max.Exclusive)))
        {
            Max = max;
        }
    }

    /// <summary>Whether the bound beside it is not part of the range, as OpenAPI 3.0 and draft 4 say it.</summary>
    private static bool Excludes(SchemaElement schema, string keyword) => schema.Member(keyword) is { Json.ValueKind: JsonValueKind.True };

    private static NumberBound? ExclusiveBound(SchemaElement schema, string keyword, string bound) => schema.Member(keyword)?.Json.ValueKind switch
    {
        JsonValueKind.False => null,
        JsonValueKind.True when schema.Member(bound) is not null => null,
        _ => Bound(schema, keyword, exclusive: true),
    };

    private static NumberBound? Bound(SchemaElement schema, string keyword, bool exclusive)
    {
        if (!schema.TryGet(keyword, out JsonElement value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Number
            ? new NumberBound(JsonNumber.Of(value), exclusive)
            : throw schema.Error($"'{keyword}' takes a number; found {Excerpt.Of(value.GetRawText())}");
    }

    private static NumberBound At(decimal value) => new(JsonNumber.Of(value), false);
}
