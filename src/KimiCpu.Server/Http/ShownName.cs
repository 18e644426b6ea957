// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Server.Http;

/// <summary>
/// Names that clients make up, as messages and the log show them: a log is read at a terminal, whose cursor control characters would move, and
/// a name may be as long as a body.
/// </summary>
internal static class ShownName
{
    private const int Longest = 100;

    public static string Of(string name)
    {
        string cut = name.Length <= Longest ? name : $"{name[..(char.IsHighSurrogate(name[Longest - 1]) ? Longest - 1 : Longest)]}…";
        return cut.All(IsHarmless) ? cut : string.Concat(cut.Select(c => IsHarmless(c) ? $"{c}" : string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:X4}")));
    }

    /// <summary>Separators of lines and what turns the direction of a text are no control characters by their category.</summary>
    private static bool IsHarmless(char c) => char.GetUnicodeCategory(c) is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}
