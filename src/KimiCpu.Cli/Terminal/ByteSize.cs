// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cli.Terminal;

/// <summary>Sizes as people write them: <c>180GB</c>, <c>24 GiB</c>, <c>1.5TB</c>, <c>4096</c>.</summary>
internal static class ByteSize
{
    private static readonly (string Unit, double Bytes)[] s_units =
    [
        ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40),
        ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12),
        ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("B", 1),
    ];

    /// <param name="text">What the user wrote.</param>
    /// <param name="option">Its name, for the message.</param>
    /// <exception cref="FormatException">It is no size.</exception>
    public static long Parse(string text, string option)
    {
        string trimmed = text.Trim();
        (string unit, double bytes) = s_units.FirstOrDefault(u => trimmed.EndsWith(u.Unit, StringComparison.OrdinalIgnoreCase), ("", 1));
        string number = trimmed[..^unit.Length].TrimEnd();
        return double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value) && value * bytes is > 0 and < 1e18
            ? (long)(value * bytes)
            : throw new FormatException($"{option} takes a size such as 180GB, 24GiB or 500MB; found '{text}'.");
    }
}
