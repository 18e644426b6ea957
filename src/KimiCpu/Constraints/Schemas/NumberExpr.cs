// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Constraints.Grammars;

namespace KimiCpu.Constraints.Schemas;

/// <summary>A bound of a number.</summary>
internal sealed record NumberBound(JsonNumber Value, bool Exclusive);

/// <summary>
/// Numbers within bounds. Their digits are bounded too, so that a number always ends: 18 before the point, 19 on the side of a
/// bound that has as many or more, 17 behind it, and an exponent of two digits where there are no bounds.
/// </summary>
internal static class NumberExpr
{
    private const int MaxDigits = 18;
    private const int MaxFraction = 17;

    /// <summary>Numbers are below where no bound is, unless all that the other bound leaves are above.</summary>
    private static readonly NumberBound s_limit = new(JsonNumber.Of(1_000_000_000_000_000_000m), true);

    /// <summary>No bound reaches further: this has all numbers of 64 bits with a sign.</summary>
    private static readonly NumberBound s_farthest = new(JsonNumber.Of(10_000_000_000_000_000_000m), true);

    private static readonly Expr s_digit = Expr.Bytes("0123456789");

    private static readonly Expr s_magnitude = Expr.Choice(Expr.Text("0"), Expr.Sequence(Expr.Bytes("123456789"), Expr.Repeat(s_digit, 0, MaxDigits - 1)));

    /// <summary>Numbers, whole or not.</summary>
    public static Expr Number(NumberBound? min, NumberBound? max)
    {
        if (min is null && max is null)
        {
            return Expr.Sequence(
                Expr.Optional(Expr.Text("-")),
                s_magnitude,
                Expr.Optional(Expr.Sequence(Expr.Text("."), Expr.Repeat(s_digit, 1, MaxFraction))),
                Expr.Optional(Expr.Sequence(Expr.Bytes("eE"), Expr.Optional(Expr.Bytes("+-")), Expr.Repeat(s_digit, 1, 2))));
        }

        (NumberBound low, NumberBound high) = Bounds(Clamp(min), Clamp(max));
        return Signed(low, high, fraction: true);
    }

    /// <summary>Whole numbers without point and exponent.</summary>
    public static Expr Integer(NumberBound? min, NumberBound? max)
    {
        (NumberBound low, NumberBound high) = Bounds(Clamp(min) is { } lower ? LeastWhole(lower) : null, Clamp(max) is { } upper ? MostWhole(upper) : null);
        return Signed(LeastWhole(low), MostWhole(high), fraction: false);
    }

    /// <summary>Puts the limits where no bound is: farther where the other bound leaves nothing before the nearer one.</summary>
    private static (NumberBound Low, NumberBound High) Bounds(NumberBound? min, NumberBound? max) => (
        min ?? Negative(max is not null && -max.Value >= s_limit.Value ? s_farthest : s_limit),
        max ?? (min is not null && min.Value >= s_limit.Value ? s_farthest : s_limit));

    private static NumberBound? Clamp(NumberBound? bound) => bound switch
    {
        null => null,
        _ when bound.Value > s_farthest.Value => s_farthest,
        _ when bound.Value < -s_farthest.Value => Negative(s_farthest),
        _ => bound,
    };

    private static NumberBound Negative(NumberBound bound) => bound with { Value = -bound.Value };

    /// <summary>The least whole number above a bound that is within the farthest ones.</summary>
    private static NumberBound LeastWhole(NumberBound min)
    {
        decimal towardsZero = decimal.Parse(min.Value.Split(0).Whole, CultureInfo.InvariantCulture) * (min.Value.Negative ? -1 : 1);
        bool next = min.Value.IsInteger ? min.Exclusive : !min.Value.Negative;
        return new NumberBound(JsonNumber.Of(towardsZero + (next ? 1 : 0)), false);
    }

    private static NumberBound MostWhole(NumberBound max) => Negative(LeastWhole(Negative(max)));

    private static Expr Signed(NumberBound min, NumberBound max, bool fraction)
    {
        var branches = new List<Expr>();
        if (max.Value >= JsonNumber.Zero)
        {
            branches.Add(Magnitudes(min.Value < JsonNumber.Zero ? new NumberBound(JsonNumber.Zero, false) : min, max, fraction));
        }

        if (min.Value < JsonNumber.Zero)
        {
            // Zero has no sign.
            NumberBound least = max.Value < JsonNumber.Zero ? Negative(max) : new NumberBound(JsonNumber.Zero, true);
            branches.Add(Expr.Sequence(Expr.Text("-"), Magnitudes(least, Negative(min), fraction)));
        }

        return Expr.Choice([.. branches]);
    }

    /// <summary>Numbers that are not negative, by the number of their digits.</summary>
    private static Expr Magnitudes(NumberBound min, NumberBound max, bool fraction)
    {
        if (min.Value > max.Value || (min.Value == max.Value && (min.Exclusive || max.Exclusive)))
        {
            return Expr.Never;
        }

        (string lowWhole, string lowFraction) = min.Value.Split(MaxFraction);
        (string highWhole, string highFraction) = max.Value.Split(MaxFraction);
        var branches = new List<Expr>();
        for (int digits = lowWhole.Length; digits <= Math.Min(highWhole.Length, MaxDigits + 1); digits++)
        {
            var tail = new FractionTail(lowFraction, highFraction, min.Exclusive, max.Exclusive, fraction);
            bool tightLow = digits == lowWhole.Length;
            bool tightHigh = digits == highWhole.Length;
            branches.Add(Whole(tightLow ? lowWhole : new string('0', digits), tightHigh ? highWhole : new string('9', digits), 0, tightLow, tightHigh, tail));
        }

        return Expr.Choice([.. branches]);
    }

    /// <summary>The digits before the point from one place on, as long as they could still be at a bound digit by digit.</summary>
    private static Expr Whole(string low, string high, int at, bool tightLow, bool tightHigh, FractionTail tail)
    {
        if (at == low.Length)
        {
            return tail.End(tightLow, tightHigh);
        }

        if (!tightLow && !tightHigh && at > 0)
        {
            return Expr.Sequence(Expr.Repeat(s_digit, low.Length - at, low.Length - at), tail.End(false, false));
        }

        int least = Math.Max(tightLow ? low[at] - '0' : 0, at == 0 && low.Length > 1 ? 1 : 0);
        int most = tightHigh ? high[at] - '0' : 9;
        return Digits(least, most, tightLow ? low[at] - '0' : -1, tightHigh ? high[at] - '0' : -1, (l, h) => Whole(low, high, at + 1, l, h, tail));
    }

    /// <summary>One digit and what follows it; digits that are at no bound share that.</summary>
    private static Expr Digits(int least, int most, int low, int high, Func<bool, bool, Expr> next)
    {
        var branches = new List<Expr>();
        ByteSet free = default;
        for (int digit = least; digit <= most; digit++)
        {
            if (digit == low || digit == high)
            {
                branches.Add(Expr.Sequence(Expr.Text(digit.ToString(CultureInfo.InvariantCulture)), next(digit == low, digit == high)));
            }
            else
            {
                free |= ByteSet.Of((byte)('0' + digit));
            }
        }

        if (!free.IsEmpty)
        {
            branches.Add(Expr.Sequence(Expr.Bytes(free), next(false, false)));
        }

        return Expr.Choice([.. branches]);
    }

    /// <summary>What comes after the digits before the point.</summary>
    private sealed record FractionTail(string Low, string High, bool LowExclusive, bool HighExclusive, bool Allowed)
    {
        public Expr End(bool tightLow, bool tightHigh)
        {
            var branches = new List<Expr>();
            if (MayEnd(0, tightLow, tightHigh))
            {
                branches.Add(Expr.Empty);
            }

            if (Allowed)
            {
                branches.Add(Expr.Sequence(Expr.Text("."), Fraction(0, tightLow, tightHigh)));
            }

            return Expr.Choice([.. branches]);
        }

        private Expr Fraction(int at, bool tightLow, bool tightHigh)
        {
            if (at == MaxFraction)
            {
                return MayEnd(at, tightLow, tightHigh) ? Expr.Empty : Expr.Never;
            }

            if (!tightLow && !tightHigh)
            {
                return Expr.Repeat(s_digit, at == 0 ? 1 : 0, MaxFraction - at);
            }

            int low = tightLow ? DigitAt(Low, at) : -1;
            int high = tightHigh ? DigitAt(High, at) : -1;
            Expr more = Digits(Math.Max(low, 0), tightHigh ? high : 9, low, high, (l, h) => Fraction(at + 1, l, h));
            return at > 0 && MayEnd(at, tightLow, tightHigh) ? Expr.Optional(more) : more;
        }

        /// <summary>Whether the number with no further digits is within the bounds that it still could be at.</summary>
        private bool MayEnd(int at, bool tightLow, bool tightHigh) =>
            (!tightLow || (RestIsZero(Low, at) && !LowExclusive)) && (!tightHigh || !RestIsZero(High, at) || !HighExclusive);

        private static int DigitAt(string digits, int at) => at < digits.Length ? digits[at] - '0' : 0;

        private static bool RestIsZero(string digits, int at) => at >= digits.Length || digits.AsSpan(at).IndexOfAnyExcept('0') < 0;
    }
}
