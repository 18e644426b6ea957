// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;

namespace KimiCpu.Constraints.Schemas;

/// <summary>A number exactly as JSON writes it, which no type of .NET holds: ±0.DIGITS × 10^Exponent.</summary>
/// <param name="Negative">Never so for zero.</param>
/// <param name="Digits">Without zeros at either end; empty for zero.</param>
/// <param name="Exponent">0 for zero. Those beyond ±10^17 count as that.</param>
internal readonly record struct JsonNumber(bool Negative, string Digits, long Exponent) : IComparable<JsonNumber>
{
    public static readonly JsonNumber Zero = new(false, "", 0);

    private const long MaxExponent = 100_000_000_000_000_000;

    public bool IsInteger => Exponent >= Digits.Length;

    public static JsonNumber operator -(JsonNumber value) => value with { Negative = !value.Negative && value.Digits.Length > 0 };

    public static bool operator <(JsonNumber left, JsonNumber right) => left.CompareTo(right) < 0;

    public static bool operator >(JsonNumber left, JsonNumber right) => left.CompareTo(right) > 0;

    public static bool operator <=(JsonNumber left, JsonNumber right) => left.CompareTo(right) <= 0;

    public static bool operator >=(JsonNumber left, JsonNumber right) => left.CompareTo(right) >= 0;

    public static JsonNumber Of(decimal value) => Parse(value.ToString(CultureInfo.InvariantCulture));

    /// <param name="value">A number.</param>
    public static JsonNumber Of(JsonElement value) => Parse(value.GetRawText());

    public int CompareTo(JsonNumber other)
    {
        if (Digits.Length == 0 || other.Digits.Length == 0 || Negative != other.Negative)
        {
            return Sign().CompareTo(other.Sign());
        }

        int order = Exponent.CompareTo(other.Exponent);
        return (order != 0 ? order : string.CompareOrdinal(Digits, other.Digits)) * Sign();
    }

    /// <summary>The digits of the magnitude before and behind the point. Behind the point those after <paramref name="places"/> are kept only as far as they tell that there are some.</summary>
    /// <param name="places">Digits behind the point that matter one by one.</param>
    public (string Whole, string Fraction) Split(int places)
    {
        if (Exponent <= 0)
        {
            return ("0", new string('0', (int)Math.Min(-Exponent, places)) + Digits);
        }

        int whole = (int)Exponent;
        return whole >= Digits.Length ? (Digits.PadRight(whole, '0'), "") : (Digits[..whole], Digits[whole..]);
    }

    private static JsonNumber Parse(string text)
    {
        int e = text.IndexOfAny(['e', 'E']);
        string[] parts = (e < 0 ? text : text[..e]).TrimStart('-').Split('.');
        long exponent = (e < 0 ? 0 : ParseExponent(text.AsSpan(e + 1))) + parts[0].Length;
        string all = string.Concat(parts);
        string digits = all.TrimStart('0');
        return digits.Length == 0 ? Zero : new JsonNumber(text[0] == '-', digits.TrimEnd('0'), exponent - (all.Length - digits.Length));
    }

    private static long ParseExponent(ReadOnlySpan<char> text) => long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value)
        ? Math.Clamp(value, -MaxExponent, MaxExponent)
        : text[0] == '-' ? -MaxExponent : MaxExponent;

    private int Sign() => Digits.Length == 0 ? 0 : Negative ? -1 : 1;
}
