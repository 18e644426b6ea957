// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Http;

/// <summary>An object of a request with its place in it. Every accessor says in its error what the field takes; null counts as left out.</summary>
internal readonly struct JsonFields
{
    private readonly JsonElement _object;
    private readonly string _path;

    /// <param name="element">Has to be an object.</param>
    /// <param name="path">Its place; empty for the whole request.</param>
    /// <exception cref="RequestException">It is none.</exception>
    public JsonFields(JsonElement element, string path = "")
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw Wrong(path.Length == 0 ? "The request" : path, "an object", element);
        }

        (_object, _path) = (element, path);
    }

    public JsonElement Element => _object;

    /// <summary>The place of a field, to show.</summary>
    public string PathOf(string name) => _path.Length == 0 ? ShownName.Of(name) : $"{_path}.{ShownName.Of(name)}";

    /// <summary>The field; null where it is left out.</summary>
    public JsonElement? Get(string name) =>
        _object.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public bool Has(string name) => Get(name) is not null;

    public string? Text(string name) => Get(name) is { } value
        ? value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(PathOf(name), "a text", value)
        : null;

    public string RequiredText(string name) => Text(name) ?? throw Missing(name);

    public bool? Flag(string name) => Get(name) is { } value
        ? value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Wrong(PathOf(name), "true or false", value)
        : null;

    public double? Number(string name, double least, double most) => Get(name) is { } value ? Number(value, PathOf(name), least, most) : null;

    /// <summary>A whole number, however it is written: Python and others write 40.0 where they count in floating point.</summary>
    public int? Integer(string name, int least, int most = int.MaxValue) => Get(name) is { } value
        ? IsWhole(value, out decimal number) && number >= least && number <= most
            ? (int)number
            : throw Wrong(PathOf(name), most == int.MaxValue ? $"a whole number, {least} or more" : $"a whole number {least} … {most}", value)
        : null;

    /// <summary>A whole number that may be larger than an integer.</summary>
    /// <inheritdoc cref="Integer"/>
    public decimal? Whole(string name, decimal least, decimal most) => Get(name) is { } value
        ? IsWhole(value, out decimal number) && number >= least && number <= most
            ? number
            : throw Wrong(PathOf(name), FormattableString.Invariant($"a whole number {least} … {most}"), value)
        : null;

    public JsonFields? Fields(string name) => Get(name) is { } value ? new JsonFields(value, PathOf(name)) : null;

    public JsonFields RequiredFields(string name) => Fields(name) ?? throw Missing(name);

    /// <summary>
    /// The fields of an object whose names are the client's, in order. To look each of them up by its name would take the square of their number.
    /// </summary>
    /// <param name="most">Most of them.</param>
    /// <param name="what">What they are, in the plural.</param>
    /// <exception cref="RequestException">There are more.</exception>
    public IEnumerable<JsonProperty> All(int most, string what)
    {
        int count = _object.GetPropertyCount();
        return count <= most
            ? _object.EnumerateObject()
            : throw new RequestException(StatusCodes.Status400BadRequest, $"{_path} takes at most {most} {what}; found {count}.", _path, "invalid_value");
    }

    /// <summary>The elements of an array with their places; none where it is left out.</summary>
    public IReadOnlyList<(JsonElement Element, string Path)> Items(string name, int most)
    {
        if (Get(name) is not { } value)
        {
            return [];
        }

        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(PathOf(name), "an array", value);
        }

        string path = PathOf(name);
        int count = value.GetArrayLength();
        return count <= most
            ? [.. value.EnumerateArray().Select((e, i) => (e, $"{path}[{i}]"))]
            : throw new RequestException(StatusCodes.Status400BadRequest, $"{path} takes at most {most} elements; found {count}.", path);
    }

    /// <summary>One text or several; none where they are left out.</summary>
    public IReadOnlyList<string> Texts(string name, int most) => Get(name) is { ValueKind: JsonValueKind.String } single
        ? [single.GetString()!]
        : [.. Items(name, most).Select(i => i.Element.ValueKind == JsonValueKind.String ? i.Element.GetString()! : throw Wrong(i.Path, "a text", i.Element))];

    /// <summary>Refuses fields that nobody reads, so that none is silently without effect.</summary>
    public void RefuseOthers(IReadOnlySet<string> known)
    {
        foreach (JsonProperty property in _object.EnumerateObject())
        {
            if (!known.Contains(property.Name) && property.Value.ValueKind != JsonValueKind.Null)
            {
                throw new RequestException(StatusCodes.Status400BadRequest, $"Unrecognized request argument supplied: {PathOf(property.Name)}", PathOf(property.Name), "unknown_parameter");
            }
        }
    }

    /// <param name="value">Of a field.</param>
    /// <param name="path">Its place.</param>
    /// <param name="least">Of numbers that it takes.</param>
    /// <param name="most">Of numbers that it takes.</param>
    public static double Number(JsonElement value, string path, double least, double most) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number >= least && number <= most
            ? number
            : throw Wrong(path, FormattableString.Invariant($"a number {least} … {most}"), value);

    private static bool IsWhole(JsonElement value, out decimal number)
    {
        number = 0;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDecimal(out number) && number == decimal.Truncate(number);
    }

    public RequestException Missing(string name) =>
        new(StatusCodes.Status400BadRequest, $"{PathOf(name)} is required.", PathOf(name), "missing_required_parameter");

    public RequestException Unsupported(string name, string why) =>
        new(StatusCodes.Status400BadRequest, $"{PathOf(name)} is not supported: {why}", PathOf(name), "unsupported_parameter");

    public RequestException Invalid(string name, string expected) =>
        Get(name) is { } value ? Wrong(PathOf(name), expected, value) : Missing(name);

    public static RequestException Wrong(string path, string expected, JsonElement found)
    {
        string text = found.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "an array",
            JsonValueKind.String => found.GetString() is { Length: <= 40 } shown ? $"'{shown}'" : "a text",
            JsonValueKind.Undefined => "nothing",
            _ => found.GetRawText() is { Length: <= 40 } shown ? shown : "a number",
        };
        return new RequestException(StatusCodes.Status400BadRequest, $"{path} takes {expected}; found {text}.", path == "The request" ? null : path, "invalid_value");
    }
}
