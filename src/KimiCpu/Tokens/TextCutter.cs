// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;

namespace KimiCpu.Tokens;

/// <summary>
/// The published wrapper cuts a text by code points before anything else: every 400,000, and within those wherever more
/// than 25,000 in a row are all blank or all not blank. It bounds the length of a piece.
/// </summary>
internal ref struct TextCutter
{
    private const int MaxCharacters = 400_000;
    private const int MaxRun = 25_000;

    private readonly ReadOnlySpan<byte> _text;
    private int _position;
    private int _characters;
    private int _run;
    private bool _blank;

    public TextCutter(ReadOnlySpan<byte> utf8) => _text = utf8;

    /// <summary>The next part; false at the end of the text.</summary>
    public bool MoveNext(out ReadOnlySpan<byte> part)
    {
        int start = _position;
        while (_position < _text.Length)
        {
            Rune.DecodeFromUtf8(_text[_position..], out Rune rune, out int consumed);
            bool blank = CharacterClasses.IsPythonSpace(rune);
            if (_characters == MaxCharacters)
            {
                // A new stretch begins; its runs are counted afresh.
                _characters = 0;
                _run = 0;
                break;
            }

            _run = _run > 0 && blank == _blank ? _run + 1 : 1;
            _blank = blank;
            if (_run > MaxRun)
            {
                // This character begins the next part, where it is counted.
                _run = 0;
                break;
            }

            _characters++;
            _position += consumed;
        }

        part = _text[start.._position];
        return part.Length > 0;
    }
}
