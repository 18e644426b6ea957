// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;

namespace KimiCpu.Tokens;

/// <summary>What the split pattern asks about a character.</summary>
[Flags]
internal enum CharacterClass : byte
{
    None = 0,

    /// <summary><c>\p{L}</c>.</summary>
    Letter = 1,

    /// <summary><c>\p{N}</c>.</summary>
    Number = 2,

    /// <summary><c>\s</c>: the Unicode property White_Space.</summary>
    Blank = 4,

    /// <summary>CR or LF.</summary>
    LineBreak = 8,

    /// <summary><c>\p{Han}</c>: the script, which holds 々 and 〇 but no kana.</summary>
    Han = 16,

    /// <summary><c>[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&amp;&amp;[^\p{Han}]]</c>: what may begin a word.</summary>
    WordStart = 32,

    /// <summary><c>[\p{Ll}\p{Lm}\p{Lo}\p{M}&amp;&amp;[^\p{Han}]]</c>: what may end a word.</summary>
    WordEnd = 64,

    /// <summary>Bytes that are no UTF-8.</summary>
    Invalid = 128,
}

/// <summary>Classes of code points; a table for the first 64K, computed once.</summary>
internal static class CharacterClasses
{
    /// <summary>Code points of the script Han, Unicode 15.0.</summary>
    private static readonly (int First, int Last)[] s_han =
    [
        (0x2E80, 0x2E99),
        (0x2E9B, 0x2EF3),
        (0x2F00, 0x2FD5),
        (0x3005, 0x3005),
        (0x3007, 0x3007),
        (0x3021, 0x3029),
        (0x3038, 0x303B),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFA6D),
        (0xFA70, 0xFAD9),
        (0x16FE2, 0x16FE3),
        (0x16FF0, 0x16FF1),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B739),
        (0x2B740, 0x2B81D),
        (0x2B820, 0x2CEA1),
        (0x2CEB0, 0x2EBE0),
        (0x2F800, 0x2FA1D),
        (0x30000, 0x3134A),
        (0x31350, 0x323AF),
    ];

    private static readonly CharacterClass[] s_basicPlane = MakeTable();

    public static CharacterClass Of(Rune rune) => rune.IsBmp ? s_basicPlane[rune.Value] : Compute(rune.Value);

    /// <summary>Python's <c>str.isspace</c>, by which very long texts are cut before anything else.</summary>
    public static bool IsPythonSpace(Rune rune) => rune.Value is >= 0x1C and <= 0x1F || (Of(rune) & CharacterClass.Blank) != 0;

    private static CharacterClass[] MakeTable()
    {
        var table = new CharacterClass[0x10000];
        for (int value = 0; value < table.Length; value++)
        {
            table[value] = Compute(value);
        }

        return table;
    }

    private static CharacterClass Compute(int value)
    {
        bool han = IsHan(value);
        var result = CharacterClass.None;
        switch (CharUnicodeInfo.GetUnicodeCategory(value))
        {
            case UnicodeCategory.UppercaseLetter or UnicodeCategory.TitlecaseLetter:
                result = CharacterClass.Letter | CharacterClass.WordStart;
                break;
            case UnicodeCategory.LowercaseLetter:
                result = CharacterClass.Letter | CharacterClass.WordEnd;
                break;
            case UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter:
                result = CharacterClass.Letter | CharacterClass.WordStart | CharacterClass.WordEnd;
                break;
            case UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark:
                result = CharacterClass.WordStart | CharacterClass.WordEnd;
                break;
            case UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber:
                result = CharacterClass.Number;
                break;
        }

        if (han)
        {
            result = (result & ~(CharacterClass.WordStart | CharacterClass.WordEnd)) | CharacterClass.Han;
        }

        if (value is (>= 0x9 and <= 0xD) or 0x20 or 0x85 or 0xA0 or 0x1680 or (>= 0x2000 and <= 0x200A) or 0x2028 or 0x2029 or 0x202F or 0x205F or 0x3000)
        {
            result |= CharacterClass.Blank;
        }

        return value is '\r' or '\n' ? result | CharacterClass.LineBreak : result;
    }

    private static bool IsHan(int value)
    {
        foreach ((int first, int last) in s_han)
        {
            if (value <= last)
            {
                return value >= first;
            }
        }

        return false;
    }
}
