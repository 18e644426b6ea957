// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Equality of JSON values as <see cref="JsonElement.DeepEquals(JsonElement, JsonElement)"/> has it, with a hash beside it, so that long lists can be compared.</summary>
internal sealed class JsonValueComparer : IEqualityComparer<JsonElement>
{
    public static readonly JsonValueComparer Instance = new();

    public bool Equals(JsonElement x, JsonElement y) => JsonElement.DeepEquals(x, y);

    public int GetHashCode(JsonElement obj)
    {
        switch (obj.ValueKind)
        {
            case JsonValueKind.String:
                return string.GetHashCode(obj.GetString(), StringComparison.Ordinal);
            case JsonValueKind.Number:
                // Equal numbers may be written differently; those that no decimal holds share a hash.
                return obj.TryGetDecimal(out decimal number) ? number.GetHashCode() : 0;
            case JsonValueKind.Array:
                var hash = new HashCode();
                foreach (JsonElement item in obj.EnumerateArray())
                {
                    hash.Add(GetHashCode(item));
                }

                return hash.ToHashCode();
            case JsonValueKind.Object:
                // The order of members makes no difference.
                return obj.EnumerateObject().Aggregate(1, (all, p) => all ^ HashCode.Combine(string.GetHashCode(p.Name, StringComparison.Ordinal), GetHashCode(p.Value)));
            default:
                return (int)obj.ValueKind;
        }
    }
}
