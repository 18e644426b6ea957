// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Checkpoints;

/// <summary>Checked access to the fields of one JSON object of a configuration file.</summary>
internal readonly struct ConfigObject
{
    private readonly JsonElement _element;
    private readonly string _path;
    private readonly string _prefix;

    public ConfigObject(JsonElement element, string path, string prefix = "")
    {
        _path = path;
        _prefix = prefix;
        _element = element.ValueKind == JsonValueKind.Object ? element : throw new CheckpointException(path, prefix.TrimEnd('.') is { Length: > 0 } place ? place : null, $"Expected a JSON object, found {Shown(element)}.");
    }

    /// <summary>Whether a field is there and not null.</summary>
    public bool Has(string field) => TryGet(field, out _);

    /// <summary>A whole number within limits.</summary>
    public int Integer(string field, int least, int most, int? missing = null)
    {
        if (!TryGet(field, out JsonElement value))
        {
            return missing ?? throw Error(field, "The field is missing.");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= least && number <= most
            ? number
            : throw Error(field, $"Expected a whole number from {least} to {most}, found {Shown(value)}.");
    }

    /// <summary>A number within limits.</summary>
    public double Number(string field, double above, double? missing = null, double most = double.MaxValue)
    {
        if (!TryGet(field, out JsonElement value))
        {
            return missing ?? throw Error(field, "The field is missing.");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number > above && number <= most
            ? number
            : throw Error(field, most < double.MaxValue ? $"Expected a number above {above}, and of at most {most}, found {Shown(value)}." : $"Expected a number above {above}, found {Shown(value)}.");
    }

    public bool Flag(string field, bool missing) => !TryGet(field, out JsonElement value)
        ? missing
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Error(field, $"Expected true or false, found {Shown(value)}.");

    public string Text(string field, string missing) => !TryGet(field, out JsonElement value)
        ? missing
        : value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Error(field, $"Expected a text, found {Shown(value)}.");

    /// <summary>A field that may be one whole number or an array of them; empty where it is missing.</summary>
    public IReadOnlyList<int> Integers(string field)
    {
        if (!TryGet(field, out JsonElement value))
        {
            return [];
        }

        var numbers = new List<int>();
        JsonElement[] items = value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : [value];
        foreach (JsonElement item in items)
        {
            numbers.Add(item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int number) && number >= 0
                ? number
                : throw Error(field, $"Expected whole numbers of at least 0, found {Shown(item)}."));
        }

        return numbers;
    }

    /// <summary>An object in a field; null where it is missing or null.</summary>
    public ConfigObject? Object(string field) => TryGet(field, out JsonElement value) ? new ConfigObject(value, _path, $"{_prefix}{field}.") : null;

    /// <summary>The objects in an object's fields.</summary>
    public IEnumerable<ConfigObject> Objects()
    {
        foreach (JsonProperty property in _element.EnumerateObject())
        {
            yield return new ConfigObject(property.Value, _path, $"{_prefix}{property.Name}.");
        }
    }

    public string FirstText(string field, string missing) =>
        TryGet(field, out JsonElement value) && value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 && value[0].ValueKind == JsonValueKind.String
            ? value[0].GetString()!
            : missing;

    /// <summary>Refuses a field whose value is another than the one supported.</summary>
    public void Require(string field, string supported)
    {
        string found = Text(field, supported);
        if (found != supported)
        {
            throw Unsupported(field, $"Expected '{supported}', found '{found}'.");
        }
    }

    /// <inheritdoc cref="Require(string, string)"/>
    public void Require(string field, int supported)
    {
        if (!Has(field))
        {
            throw Unsupported(field, $"Expected {supported}, found none.");
        }

        int found = Integer(field, int.MinValue, int.MaxValue);
        if (found != supported)
        {
            throw Unsupported(field, $"Expected {supported}, found {found}.");
        }
    }

    public CheckpointException Error(string field, string problem) => new(_path, _prefix + field, problem);

    public CheckpointException Unsupported(string field, string problem) =>
        new(_path, _prefix + field, problem, "This model is not of the Kimi K2 family as it is supported here; give the folder of one that is, as downloaded.") { IsIntact = true, IsForeign = true };

    private bool TryGet(string field, out JsonElement value) => _element.TryGetProperty(field, out value) && value.ValueKind != JsonValueKind.Null;

    private static string Shown(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length <= 60 ? text : text[..60] + "…";
    }
}
