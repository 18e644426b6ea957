// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Globalization;

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>The sets that a pattern names: as in ECMA-262, so digits and word characters are ASCII.</summary>
internal static class CharacterSets
{
    private static readonly ConcurrentDictionary<string, CodePointSet> s_categories = new();

    public static CodePointSet Digits { get; } = new([('0', '9')]);

    public static CodePointSet Words { get; } = new([('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')]);

    public static CodePointSet Blanks { get; } = new([(0x9, 0xD), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]);

    /// <summary>What <c>.</c> matches.</summary>
    public static CodePointSet NoLineBreak { get; } = CodePointSet.Of('\n', '\r', 0x2028, 0x2029).Complement();

    /// <summary>Characters of a general category, such as <c>Lu</c> or <c>L</c>; null for another name.</summary>
    public static CodePointSet? OfCategory(string name)
    {
        HashSet<UnicodeCategory> wanted = [.. Enum.GetValues<UnicodeCategory>().Where(c => Abbreviation(c).StartsWith(name, StringComparison.Ordinal))];
        if (name.Length is < 1 or > 2 || wanted.Count == 0)
        {
            return null;
        }

        return s_categories.GetOrAdd(name, _ => new CodePointSet(Enumerable.Range(0, 0x110000).Where(v => wanted.Contains(CharUnicodeInfo.GetUnicodeCategory(v))).Select(v => (v, v))));
    }

    private static string Abbreviation(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => "Lu",
        UnicodeCategory.LowercaseLetter => "Ll",
        UnicodeCategory.TitlecaseLetter => "Lt",
        UnicodeCategory.ModifierLetter => "Lm",
        UnicodeCategory.OtherLetter => "Lo",
        UnicodeCategory.NonSpacingMark => "Mn",
        UnicodeCategory.SpacingCombiningMark => "Mc",
        UnicodeCategory.EnclosingMark => "Me",
        UnicodeCategory.DecimalDigitNumber => "Nd",
        UnicodeCategory.LetterNumber => "Nl",
        UnicodeCategory.OtherNumber => "No",
        UnicodeCategory.SpaceSeparator => "Zs",
        UnicodeCategory.LineSeparator => "Zl",
        UnicodeCategory.ParagraphSeparator => "Zp",
        UnicodeCategory.Control => "Cc",
        UnicodeCategory.Format => "Cf",
        UnicodeCategory.Surrogate => "Cs",
        UnicodeCategory.PrivateUse => "Co",
        UnicodeCategory.ConnectorPunctuation => "Pc",
        UnicodeCategory.DashPunctuation => "Pd",
        UnicodeCategory.OpenPunctuation => "Ps",
        UnicodeCategory.ClosePunctuation => "Pe",
        UnicodeCategory.InitialQuotePunctuation => "Pi",
        UnicodeCategory.FinalQuotePunctuation => "Pf",
        UnicodeCategory.OtherPunctuation => "Po",
        UnicodeCategory.MathSymbol => "Sm",
        UnicodeCategory.CurrencySymbol => "Sc",
        UnicodeCategory.ModifierSymbol => "Sk",
        UnicodeCategory.OtherSymbol => "So",
        _ => "Cn",
    };
}
