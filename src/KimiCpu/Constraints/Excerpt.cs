// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints;

/// <summary>What messages repeat of a schema or a pattern.</summary>
internal static class Excerpt
{
    private const int MaxLength = 100;

    /// <summary>A text, or the beginning of a long one.</summary>
    public static string Of(string text) => text.Length <= MaxLength ? text : string.Concat(text.AsSpan(0, MaxLength - (char.IsHighSurrogate(text[MaxLength - 1]) ? 1 : 0)), "…");
}
