// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text;

namespace KimiCpu.Constraints.RegularExpressions;

/// <summary>
/// Reads the part of the syntax that ECMA-262 and .NET share and that describes regular languages: no look-around, no
/// back references, no word boundaries. Lazy quantifiers mean the same as greedy ones, since whole texts are matched.
/// </summary>
internal sealed class RegexParser
{
    private const int MaxDepth = 100;
    private const int MaxRepetitions = 100_000;
    private const int MaxLength = 20_000;

    /// <summary>For a range of characters that is put into its place among others.</summary>
    private const int WorkOfRange = 32;

    private readonly int[] _pattern;
    private readonly string _text;
    private readonly CompileBudget _budget;
    private readonly Dictionary<string, CodePointSet> _categories = new(StringComparer.Ordinal);
    private int _position;
    private int _depth;

    private RegexParser(string pattern, CompileBudget budget)
    {
        (_text, _budget) = (pattern, budget);
        _pattern = [.. pattern.EnumerateRunes().Select(r => r.Value)];
    }

    private bool AtEnd => _position >= _pattern.Length;

    private int Peek => AtEnd ? -1 : _pattern[_position];

    /// <exception cref="KimiConstraintException">The pattern is malformed, uses what is not supported, or is too large.</exception>
    public static RegexNode Parse(string pattern, CompileBudget budget)
    {
        if (pattern.Length > MaxLength)
        {
            throw new KimiConstraintException($"A pattern has at most {MaxLength:N0} characters; this one has {pattern.Length:N0}.");
        }

        var parser = new RegexParser(pattern, budget);
        RegexNode node = parser.Choice();
        return parser.AtEnd ? node : throw parser.Error("a ')' without '('");
    }

    private RegexNode Choice()
    {
        if (++_depth > MaxDepth)
        {
            throw Error($"more than {MaxDepth} nested groups");
        }

        List<RegexNode> branches = [Sequence()];
        while (Take('|'))
        {
            branches.Add(Sequence());
        }

        _depth--;
        return branches.Count == 1 ? branches[0] : new RegexChoice(branches);
    }

    private RegexSequence Sequence()
    {
        var parts = new List<RegexNode>();
        while (!AtEnd && Peek != '|' && Peek != ')')
        {
            parts.Add(Quantified());
        }

        return new RegexSequence(parts);
    }

    private RegexNode Quantified()
    {
        RegexNode atom = Atom();
        bool quantified = false;
        while (TakeQuantifier(out int min, out int? max))
        {
            if (quantified || atom is RegexAnchor)
            {
                throw Error(quantified ? "a quantifier after a quantifier" : "a quantifier after an anchor");
            }

            quantified = true;
            atom = new RegexRepeat(atom, min, max);
            Take('?');
        }

        return atom;
    }

    private bool TakeQuantifier(out int min, out int? max)
    {
        (min, max) = (0, null);
        if (Take('*'))
        {
            return true;
        }

        if (Take('+'))
        {
            min = 1;
            return true;
        }

        if (Take('?'))
        {
            max = 1;
            return true;
        }

        return Peek == '{' && TakeBounds(out min, out max);
    }

    /// <summary><c>{n}</c>, <c>{n,}</c> or <c>{n,m}</c>; anything else in braces is text.</summary>
    private bool TakeBounds(out int min, out int? max)
    {
        int start = _position++;
        max = null;
        if (TakeNumber(out min))
        {
            bool comma = Take(',');
            bool bounded = TakeNumber(out int most);
            max = comma ? (bounded ? most : null) : min;
            if ((comma || !bounded) && Take('}'))
            {
                return max is null || max >= min ? true : throw Error($"a quantifier whose bounds {min} and {max} are out of order");
            }
        }

        _position = start;
        (min, max) = (0, null);
        return false;
    }

    private bool TakeNumber(out int number)
    {
        int start = _position;
        number = 0;
        while (!AtEnd && Peek is >= '0' and <= '9')
        {
            number = (number * 10) + (Peek - '0');
            _position++;
            if (number > MaxRepetitions)
            {
                throw Error($"a repetition of more than {MaxRepetitions:N0}");
            }
        }

        return _position > start;
    }

    private RegexNode Atom()
    {
        int c = _pattern[_position++];
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                return new RegexCharacters(Class());
            case '.':
                return new RegexCharacters(CharacterSets.NoLineBreak);
            case '^':
                return new RegexAnchor(false);
            case '$':
                return new RegexAnchor(true);
            case '*' or '+' or '?':
                throw Error("a quantifier without anything before it");
            case '\\':
                return new RegexCharacters(Escape(inClass: false));
            case '{' when LooksLikeBounds():
                throw Error("a quantifier without anything before it");
            default:
                return new RegexCharacters(CodePointSet.Of(c));
        }
    }

    private bool LooksLikeBounds()
    {
        int start = _position;
        _position--;
        bool found = TakeBounds(out _, out _);
        _position = start;
        return found;
    }

    private RegexNode Group()
    {
        if (Take('?'))
        {
            int kind = AtEnd ? -1 : _pattern[_position++];
            bool named = (kind == '<' && Peek != '=' && Peek != '!') || kind == '\'';
            if (named)
            {
                int close = kind == '<' ? '>' : '\'';
                while (!AtEnd && Peek != close)
                {
                    _position++;
                }

                Expect(close);
            }
            else if (kind != ':')
            {
                throw Error("look-around, an option or another special group, which constraints do not support");
            }
        }

        RegexNode node = Choice();
        Expect(')');
        return node;
    }

    private CodePointSet Class()
    {
        bool negated = Take('^');
        var ranges = new List<(int First, int Last)>();
        bool first = true;
        while (first || Peek != ']')
        {
            if (AtEnd)
            {
                throw Error("a '[' without ']'");
            }

            if (first && Peek == ']')
            {
                throw Error("an empty class or a class that begins with ']'; write '\\]' for the character");
            }

            first = false;
            CodePointSet item = ClassItem(out int single);
            if (single == '-' && Peek == '[')
            {
                throw Error("a subtraction of classes, which constraints do not support; write '\\[' for the character");
            }

            // Behind a set it stands for itself, as ECMAScript and .NET read it.
            if (single >= 0 && Peek == '-' && _position + 1 < _pattern.Length && _pattern[_position + 1] != ']')
            {
                _position++;
                _ = ClassItem(out int last);
                if (last < single)
                {
                    throw Error("a range in a class whose ends are no characters in order");
                }

                item = new CodePointSet([(single, last)]);
            }

            _budget.Spend(WorkOfRange * (long)item.Ranges.Count);
            ranges.AddRange(item.Ranges);
        }

        _position++;
        var set = new CodePointSet(ranges);
        return negated ? set.Complement() : set;
    }

    /// <param name="single">The character; -1 for a set of several.</param>
    private CodePointSet ClassItem(out int single)
    {
        int c = AtEnd ? throw Error("a '[' without ']'") : _pattern[_position++];
        CodePointSet set = c == '\\' ? Escape(inClass: true) : CodePointSet.Of(c);
        single = set.Ranges.Count == 1 && set.Ranges[0].First == set.Ranges[0].Last ? set.Ranges[0].First : -1;
        return set;
    }

    private CodePointSet Escape(bool inClass)
    {
        int c = AtEnd ? throw Error("a '\\' at the end") : _pattern[_position++];
        switch (c)
        {
            case 'd':
                return CharacterSets.Digits;
            case 'D':
                return CharacterSets.Digits.Complement();
            case 'w':
                return CharacterSets.Words;
            case 'W':
                return CharacterSets.Words.Complement();
            case 's':
                return CharacterSets.Blanks;
            case 'S':
                return CharacterSets.Blanks.Complement();
            case 'p' or 'P':
                return Category(complement: c == 'P');
            case 't':
                return CodePointSet.Of('\t');
            case 'n':
                return CodePointSet.Of('\n');
            case 'r':
                return CodePointSet.Of('\r');
            case 'f':
                return CodePointSet.Of('\f');
            case 'v':
                return CodePointSet.Of('\v');
            case 'b' when inClass:
                return CodePointSet.Of('\b');
            case '0' when Peek is < '0' or > '9':
                return CodePointSet.Of(0);
            case 'x':
                return CodePointSet.Of(Hexadecimal(2));
            case 'u':
                return CodePointSet.Of(UnicodeEscape());
            default:
                bool letter = c < 0x80 && char.IsAsciiLetterOrDigit((char)c);
                return letter ? throw Error($"the escape '\\{(char)c}', which constraints do not support") : CodePointSet.Of(c);
        }
    }

    private CodePointSet Category(bool complement)
    {
        Expect('{');
        var name = new StringBuilder();
        while (!AtEnd && Peek != '}')
        {
            name.Append(new Rune(_pattern[_position++]));
        }

        Expect('}');
        string key = $"{(complement ? 'P' : 'p')}{name}";
        if (!_categories.TryGetValue(key, out CodePointSet? set))
        {
            set = CharacterSets.OfCategory(name.ToString()) ?? throw Error($"the category '{Excerpt.Of(name.ToString())}'; the general categories are supported, such as L, Lu, N or Nd");
            set = complement ? set.Complement() : set;
            _categories.Add(key, set);
        }

        return set;
    }

    private int UnicodeEscape()
    {
        if (Take('{'))
        {
            int digits = 0;
            while (!AtEnd && Peek != '}' && digits < 7)
            {
                (_position, digits) = (_position + 1, digits + 1);
            }

            _position -= digits;
            int scalar = Hexadecimal(digits);
            Expect('}');
            return Rune.IsValid(scalar) ? scalar : throw Error("an escape of no character");
        }

        int value = Hexadecimal(4);
        if (value is >= 0xD800 and <= 0xDBFF && _position + 1 < _pattern.Length && Peek == '\\' && _pattern[_position + 1] == 'u')
        {
            _position += 2;
            int low = Hexadecimal(4);
            value = low is >= 0xDC00 and <= 0xDFFF ? char.ConvertToUtf32((char)value, (char)low) : value;
        }

        return Rune.IsValid(value) ? value : throw Error("half of a surrogate pair");
    }

    private int Hexadecimal(int digits)
    {
        var text = new StringBuilder();
        for (int i = 0; i < digits && !AtEnd; i++)
        {
            text.Append(new Rune(_pattern[_position++]));
        }

        return digits > 0 && text.Length == digits && int.TryParse(text.ToString(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int value)
            ? value
            : throw Error("an escape without its hexadecimal digits");
    }

    private bool Take(int c)
    {
        if (Peek != c)
        {
            return false;
        }

        _position++;
        return true;
    }

    private void Expect(int c)
    {
        if (!Take(c))
        {
            throw Error($"no '{(char)c}'");
        }
    }

    private KimiConstraintException Error(string found) =>
        new($"The pattern '{Excerpt.Of(_text)}' has {found} at character {Math.Min(_position, _pattern.Length)}.");
}
