// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Constraints.Schemas;

/// <summary>Places in a document, as messages name them.</summary>
internal static class SchemaPath
{
    /// <summary>A part of a JSON pointer.</summary>
    public static string Escape(string name) => Excerpt.Of(name).Replace("~", "~0", StringComparison.Ordinal).Replace("/", "~1", StringComparison.Ordinal);

    public static KimiConstraintException Error(string path, string problem) => new($"JSON Schema, at {path}: {problem}.");
}
