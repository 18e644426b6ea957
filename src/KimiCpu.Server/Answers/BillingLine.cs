// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.RegularExpressions;

namespace KimiCpu.Server.Answers;

/// <summary>
/// What Claude Code puts before its instructions, also where another server than Anthropic's is to read them, or a gateway that asks it by another interface: a line with its version and a checksum that is
/// another in every request. It means nothing to the model, and since it stands where the prompt begins, nothing behind it would ever be found in the cache.
/// Only its names and values are known by their form: who joins it with the instructions on the way may leave no end of a line between them.
/// </summary>
internal static partial class BillingLine
{
    /// <summary>The first text of the system prompt without the line; empty where there is nothing else in it.</summary>
    public static string TakenFrom(string text) => Line().Replace(text, "", count: 1);

    /// <summary>A value may end with the line instead, but a sentence behind it is none.</summary>
    [GeneratedRegex(@"\Ax-anthropic-billing-header:(?:[ \t]*[\w.-]+=(?:[^;\r\n]*;|[^;\s]*(?=[ \t]*(?:[\r\n]|\z))))+[ \t]*(?:\r?\n)?", RegexOptions.CultureInvariant)]
    private static partial Regex Line();
}
