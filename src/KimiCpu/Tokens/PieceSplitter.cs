// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Tokens;

/// <summary>
/// Kimi's pre-tokenization: cuts UTF-8 text into pieces that byte-pair encoding works on apart. It does what the
/// published pattern's eight alternatives do, tried in order at each position, with their backtracking worked out by
/// hand, in linear time. Bytes that are no UTF-8 are pieces of their own.
/// </summary>
internal ref struct PieceSplitter
{
    private readonly ReadOnlySpan<byte> _text;
    private int _position;

    /// <param name="utf8">At most a few hundred thousand characters; see <see cref="TextCutter"/>.</param>
    public PieceSplitter(ReadOnlySpan<byte> utf8) => _text = utf8;

    /// <summary>The next piece; false at the end of the text.</summary>
    public bool MoveNext(out ReadOnlySpan<byte> piece)
    {
        if (_position >= _text.Length)
        {
            piece = default;
            return false;
        }

        int end = EndOfPiece(_position);
        piece = _text[_position..end];
        _position = end;
        return true;
    }

    private readonly int EndOfPiece(int start)
    {
        CharacterClass first = ClassAt(start, out int next);
        if ((first & CharacterClass.Invalid) != 0)
        {
            return next;
        }

        // [\p{Han}]+
        if ((first & CharacterClass.Han) != 0)
        {
            return EndOfRun(start, CharacterClass.Han);
        }

        int end = EndOfWord(start, first, next);
        if (end > start)
        {
            return end;
        }

        // \p{N}{1,3}
        if ((first & CharacterClass.Number) != 0)
        {
            end = next;
            for (int i = 0; i < 2 && (ClassAt(end, out next) & CharacterClass.Number) != 0; i++)
            {
                end = next;
            }

            return end;
        }

        end = EndOfSymbols(start, first, next);
        return end > start ? end : EndOfBlanks(start);
    }

    /// <summary>The second and third alternative, each with its optional leading character first and then without; start if none matches.</summary>
    private readonly int EndOfWord(int start, CharacterClass first, int next)
    {
        bool leading = (first & (CharacterClass.LineBreak | CharacterClass.Letter | CharacterClass.Number)) == 0;
        int end = leading ? EndOfLowerWord(next) : -1;
        end = end < 0 ? EndOfLowerWord(start) : end;
        end = end < 0 && leading ? EndOfUpperWord(next) : end;
        end = end < 0 ? EndOfUpperWord(start) : end;
        return end < 0 ? start : end;
    }

    /// <summary>WordStart* WordEnd+ and a contraction; -1 if it does not match. The first part gives back until the second has a character.</summary>
    private readonly int EndOfLowerWord(int start)
    {
        int lastEnding = -1;
        int position = start;
        while (true)
        {
            CharacterClass c = ClassAt(position, out int next);
            if ((c & CharacterClass.WordStart) == 0)
            {
                if ((c & CharacterClass.WordEnd) != 0)
                {
                    return EndOfContraction(EndOfRun(position, CharacterClass.WordEnd));
                }

                break;
            }

            if ((c & CharacterClass.WordEnd) != 0)
            {
                lastEnding = next;
            }

            position = next;
        }

        return lastEnding < 0 ? -1 : EndOfContraction(lastEnding);
    }

    /// <summary>WordStart+ WordEnd* and a contraction; -1 if it does not match.</summary>
    private readonly int EndOfUpperWord(int start)
    {
        int end = EndOfRun(start, CharacterClass.WordStart);
        return end == start ? -1 : EndOfContraction(EndOfRun(end, CharacterClass.WordEnd));
    }

    /// <summary><c> ?[^\s\p{L}\p{N}]+[\r\n]*</c>; start if it does not match.</summary>
    private readonly int EndOfSymbols(int start, CharacterClass first, int next)
    {
        const CharacterClass NoSymbol = CharacterClass.Blank | CharacterClass.Letter | CharacterClass.Number | CharacterClass.Invalid;
        int begin = _text[start] == ' ' ? next : start;
        int end = begin;
        while (end < _text.Length && (ClassAt(end, out next) & NoSymbol) == 0)
        {
            end = next;
        }

        return end == begin ? start : EndOfRun(end, CharacterClass.LineBreak);
    }

    /// <summary>The last three alternatives: blanks up to the last line break; blanks but for the one before other text; blanks.</summary>
    private readonly int EndOfBlanks(int start)
    {
        int lastBreak = -1;
        int last = start;
        int end = start;
        while (true)
        {
            CharacterClass c = ClassAt(end, out int next);
            if ((c & CharacterClass.Blank) == 0)
            {
                break;
            }

            if ((c & CharacterClass.LineBreak) != 0)
            {
                lastBreak = next;
            }

            last = end;
            end = next;
        }

        if (lastBreak >= 0)
        {
            return lastBreak;
        }

        return end < _text.Length && last > start ? last : end;
    }

    private readonly int EndOfRun(int start, CharacterClass wanted)
    {
        int end = start;
        while ((ClassAt(end, out int next) & wanted) != 0)
        {
            end = next;
        }

        return end;
    }

    /// <summary><c>(?i:'s|'t|'re|'ve|'m|'ll|'d)?</c>; by case folding <c>'ſ</c> is an <c>'s</c>.</summary>
    private readonly int EndOfContraction(int start)
    {
        ReadOnlySpan<byte> rest = _text[start..];
        if (rest.Length < 2 || rest[0] != '\'')
        {
            return start;
        }

        int first = rest[1] | 0x20;
        int second = rest.Length > 2 ? rest[2] | 0x20 : 0;
        return (first, second) switch
        {
            ('s' or 't' or 'm' or 'd', _) => start + 2,
            ('r' or 'v', 'e') or ('l', 'l') => start + 3,
            _ => rest.Length > 2 && rest[1] == 0xC5 && rest[2] == 0xBF ? start + 3 : start,
        };
    }

    /// <summary>Class of the character at a position, and where the next one begins; none at the end.</summary>
    private readonly CharacterClass ClassAt(int position, out int next)
    {
        if (position >= _text.Length)
        {
            next = position;
            return CharacterClass.None;
        }

        bool valid = Rune.DecodeFromUtf8(_text[position..], out Rune rune, out int consumed) == System.Buffers.OperationStatus.Done;
        next = position + consumed;
        return valid ? CharacterClasses.Of(rune) : CharacterClass.Invalid;
    }
}
