// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>Places in a document, as messages name them.</summary>
internal static class SchemaPath
{
    /// <summary>Of a name or another text of the schema in a message.</summary>
    private const int MaxLength = 100;

    /// <summary>A part of a JSON pointer.</summary>
    public static string Escape(string name) => Cut(name).Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    /// <summary>A text of the schema, or the beginning of a long one.</summary>
    public static string Cut(string text) => text.Length <= MaxLength ? text : string.Concat(text.AsSpan(0, MaxLength - (char.IsHighSurrogate(text[MaxLength - 1]) ? 1 : 0)), "…");

    public static KimiConstraintException Error(string path, string problem) => new($"JSON Schema, at {path}: {problem}.");
}
