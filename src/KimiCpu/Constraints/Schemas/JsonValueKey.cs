// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>
/// A text for each JSON value, the same for equal values and no others: numbers by what they are worth, members in any order, the last
/// one of those with one name. So long lists of any values can be compared by hashes.
/// </summary>
internal static class JsonValueKey
{
    private const int WorkOfValue = 16;

    /// <summary>Its name is compared with some of the others, to bring them in order.</summary>
    private const int WorkOfMember = 64;

    public static string Of(JsonElement value, CompileBudget budget)
    {
        var key = new StringBuilder();
        Append(key, value, budget);
        budget.Spend(key.Length);
        return key.ToString();
    }

    private static void Append(StringBuilder key, JsonElement value, CompileBudget budget)
    {
        budget.Spend(WorkOfValue);
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                Append(key, value.GetString()!);
                break;
            case JsonValueKind.Number:
                budget.Spend(JsonMarshal.GetRawUtf8Value(value).Length);
                var number = JsonNumber.Of(value);
                key.Append(CultureInfo.InvariantCulture, $"{(number.Negative ? '-' : '+')}{number.Digits}e{number.Exponent};");
                break;
            case JsonValueKind.Array:
                key.Append('[');
                foreach (JsonElement item in value.EnumerateArray())
                {
                    Append(key, item, budget);
                }

                key.Append(']');
                break;
            case JsonValueKind.Object:
                var members = new SortedDictionary<string, JsonElement>(StringComparer.Ordinal);
                foreach (JsonProperty member in value.EnumerateObject())
                {
                    string name = member.Name;
                    budget.Spend(WorkOfMember + name.Length);
                    members[name] = member.Value;
                }

                key.Append('{');
                foreach ((string name, JsonElement member) in members)
                {
                    Append(key, name);
                    Append(key, member, budget);
                }

                key.Append('}');
                break;
            default:
                key.Append(CultureInfo.InvariantCulture, $"{value.ValueKind};");
                break;
        }
    }

    /// <summary>With its length, so that no text looks like another with something behind it.</summary>
    private static void Append(StringBuilder key, string text) => key.Append(CultureInfo.InvariantCulture, $"\"{text.Length}:").Append(text);
}
