// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// What a terminal shows of text that a model or a tool wrote: control characters would move its cursor, rename its window or worse, so all but
/// line ends and tabs are shown by their numbers.
/// </summary>
internal static class VisibleText
{
    public static string Of(string text) => text.All(IsHarmless)
        ? text
        : string.Concat(text.Select(c => IsHarmless(c) ? c.ToString() : string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}")));

    private static bool IsHarmless(char c) => !char.IsControl(c) || c is '\n' or '\t';
}
