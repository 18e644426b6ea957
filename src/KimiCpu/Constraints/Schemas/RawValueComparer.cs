// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>Takes values for equal that are written alike.</summary>
internal sealed class RawValueComparer : IEqualityComparer<JsonElement>
{
    public static readonly RawValueComparer Instance = new();

    public bool Equals(JsonElement x, JsonElement y) => JsonMarshal.GetRawUtf8Value(x).SequenceEqual(JsonMarshal.GetRawUtf8Value(y));

    public int GetHashCode([DisallowNull] JsonElement obj)
    {
        var hash = new HashCode();
        hash.AddBytes(JsonMarshal.GetRawUtf8Value(obj));
        return hash.ToHashCode();
    }
}
