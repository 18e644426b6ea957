// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cli.Terminal;

/// <summary>Sizes as people write them: 180GB, 1.5 TB, 64GiB, or plain bytes.</summary>
internal static class ByteSize
{
    private static readonly (string Unit, double Bytes)[] s_units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("B", 1), ("", 1),
    ];

    /// <summary>With three digits or more and the decimal unit that suits.</summary>
    public static string Format(double bytes)
    {
        (string unit, double size) = bytes switch { >= 1e12 => ("TB", 1e12), >= 1e9 => ("GB", 1e9), >= 1e6 => ("MB", 1e6), >= 1e3 => ("KB", 1e3), _ => ("B", 1) };
        double number = bytes / size;
        return $"{number.ToString(number >= 100 ? "F0" : number >= 10 ? "F1" : "F2", CultureInfo.InvariantCulture)} {unit}";
    }

    /// <exception cref="FormatException">The text is no size.</exception>
    public static long Parse(string text)
    {
        foreach ((string unit, double bytes) in s_units)
        {
            if (text.EndsWith(unit, StringComparison.OrdinalIgnoreCase)
                && double.TryParse(text.AsSpan(0, text.Length - unit.Length), NumberStyles.AllowDecimalPoint | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out double number)
                && number * bytes is > 0 and < long.MaxValue)
            {
                return (long)(number * bytes);
            }
        }

        throw new FormatException($"A size is a number above 0 with a unit, such as 180GB, 1.5TB or 64GiB; found '{text}'.");
    }
}
