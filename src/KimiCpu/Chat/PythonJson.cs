// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;
using System.Text.Json;

namespace KimiCpu.Chat;

/// <summary>
/// JSON as Python's <c>json.dumps(ensure_ascii=False)</c> writes it, which is what the models were trained on: characters
/// as they are, numbers in Python's form, of equal keys the last.
/// </summary>
internal static class PythonJson
{
    /// <summary>Orders by code points, as Python sorts texts; UTF-16 order differs beyond the BMP.</summary>
    public static IComparer<string> KeyOrder { get; } = Comparer<string>.Create((a, b) =>
        Encoding.UTF8.GetBytes(a).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(b)));

    /// <param name="value">To write.</param>
    /// <param name="compact">No blanks after commas and colons.</param>
    /// <param name="sorted">Keys sorted, at every level.</param>
    public static string Write(JsonElement value, bool compact = false, bool sorted = false)
    {
        var text = new StringBuilder();
        Write(text, value, compact ? "," : ", ", compact ? ":" : ": ", sorted);
        return text.ToString();
    }

    /// <summary>The members of an object, of equal keys the last.</summary>
    public static IEnumerable<KeyValuePair<string, JsonElement>> Members(JsonElement value, bool sorted)
    {
        var members = new OrderedDictionary<string, JsonElement>();
        foreach (JsonProperty member in value.EnumerateObject())
        {
            members[member.Name] = member.Value;
        }

        return sorted ? members.OrderBy(m => m.Key, KeyOrder) : members;
    }

    /// <summary>A number as Python reads and writes it: whole ones as they are, others by the shortest text that reads back the same.</summary>
    public static string Number(JsonElement value)
    {
        string raw = value.GetRawText();
        if (!raw.AsSpan().ContainsAny('.', 'e', 'E'))
        {
            return raw == "-0" ? "0" : raw;
        }

        double number = double.Parse(raw, NumberStyles.Float, CultureInfo.InvariantCulture);
        if (!double.IsFinite(number))
        {
            return number > 0 ? "Infinity" : "-Infinity";
        }

        // The shortest digits that read back the same, without the point, and the place of the point among them.
        string shortest = number.ToString("E16", CultureInfo.InvariantCulture);
        for (int precision = 0; precision < 16; precision++)
        {
            string candidate = number.ToString($"E{precision}", CultureInfo.InvariantCulture);
            if (double.Parse(candidate, CultureInfo.InvariantCulture) == number)
            {
                shortest = candidate;
                break;
            }
        }

        string[] parts = shortest.Split('E');
        string sign = parts[0].StartsWith('-') ? "-" : "";
        string digits = parts[0].Replace(".", "", StringComparison.Ordinal)[sign.Length..];
        int exponent = int.Parse(parts[1], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        return sign + exponent switch
        {
            < -4 or >= 16 => $"{digits[0]}{(digits.Length > 1 ? "." : "")}{digits[1..]}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}",
            < 0 => $"0.{new string('0', -exponent - 1)}{digits}",
            _ when digits.Length <= exponent + 1 => $"{digits.PadRight(exponent + 1, '0')}.0",
            _ => $"{digits[..(exponent + 1)]}.{digits[(exponent + 1)..]}",
        };
    }

    private static void Write(StringBuilder text, JsonElement value, string comma, string colon, bool sorted)
    {
        string separator = "";
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                text.Append('{');
                foreach ((string key, JsonElement member) in Members(value, sorted))
                {
                    WriteText(text.Append(separator), key);
                    Write(text.Append(colon), member, comma, colon, sorted);
                    separator = comma;
                }

                text.Append('}');
                break;
            case JsonValueKind.Array:
                text.Append('[');
                foreach (JsonElement item in value.EnumerateArray())
                {
                    Write(text.Append(separator), item, comma, colon, sorted);
                    separator = comma;
                }

                text.Append(']');
                break;
            case JsonValueKind.String:
                WriteText(text, value.GetString()!);
                break;
            case JsonValueKind.Number:
                text.Append(Number(value));
                break;
            default:
                text.Append(value.GetRawText());
                break;
        }
    }

    private static void WriteText(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (char c in value)
        {
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                < ' ' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => text.Append(c),
            };
        }

        text.Append('"');
    }
}
