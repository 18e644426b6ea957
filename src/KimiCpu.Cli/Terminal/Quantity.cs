// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cli.Terminal;

/// <summary>Sizes, rates and counts as people type them; GB is 10^9 bytes and GiB 2^30.</summary>
internal static class Quantity
{
    private static readonly (string Unit, double Bytes)[] s_units =
    [
        ("TIB", 1L << 40), ("GIB", 1 << 30), ("MIB", 1 << 20), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6),
    ];

    /// <summary>Bytes: 256GB, 1.5 TB, 240GiB.</summary>
    /// <exception cref="FormatException">The text is no size above zero.</exception>
    public static double Bytes(string option, string text) =>
        TryBytes(text) ?? throw new FormatException($"{option} takes a size in MB, GB, TB, MiB, GiB or TiB, such as 256GB or 240GiB; found '{text}'.");

    /// <summary>Bytes of a card's memory: sold by powers of two and called GB.</summary>
    /// <exception cref="FormatException">The text is no size above zero.</exception>
    public static double CardBytes(string option, string text) =>
        TryBytes(text.Replace("GB", "GiB", StringComparison.OrdinalIgnoreCase)) ?? Bytes(option, text);

    /// <summary>Bytes per second: 90GB/s, 1.2TB/s.</summary>
    /// <exception cref="FormatException">The text is no rate above zero.</exception>
    public static double BytesPerSecond(string option, string text) =>
        TryRate(text) ?? throw new FormatException($"{option} takes a rate in MB/s, GB/s or TB/s, such as 90GB/s; found '{text}'.");

    /// <summary>A size, or some of that size; drives are separated by commas: 7GB/s, 2x7GB/s,3.5GB/s.</summary>
    /// <exception cref="FormatException">The text is none.</exception>
    public static IReadOnlyList<(int Count, double BytesPerSecond)> Drives(string option, string text)
    {
        const int MostDrives = 64;
        List<(int, double)> drives = [];
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            int times = part.IndexOfAny(['x', 'X', '×', '*']);
            int count = 1;
            bool valid = times < 0 || int.TryParse(part[..times].Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out count);
            if (!valid || count is < 1 or > MostDrives || TryRate(part[(times + 1)..]) is not { } rate)
            {
                throw new FormatException($"{option} takes the rate of each drive, such as 7GB/s, 2x7GB/s or 2x7GB/s,3.5GB/s (at most {MostDrives} of a kind); found '{text}'.");
            }

            drives.Add((count, rate));
        }

        return drives;
    }

    /// <summary>Tokens: 4096, 32K, 128k, where K is 1024.</summary>
    /// <exception cref="FormatException">The text is no count above zero.</exception>
    public static int Tokens(string option, string text)
    {
        string trimmed = text.Trim();
        int factor = trimmed.EndsWith('K') || trimmed.EndsWith('k') ? 1024 : 1;
        string number = factor == 1 ? trimmed : trimmed[..^1].TrimEnd();
        return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0 && count <= int.MaxValue / factor
            ? count * factor
            : throw new FormatException($"{option} takes a number of tokens, such as 4096, 32K or 128K (K is 1024); found '{text}'.");
    }

    private static double? TryRate(string text)
    {
        string trimmed = text.Trim();
        return trimmed.EndsWith("/s", StringComparison.OrdinalIgnoreCase) ? TryBytes(trimmed[..^2]) : null;
    }

    private static double? TryBytes(string text)
    {
        string upper = text.Trim().ToUpperInvariant();
        foreach ((string unit, double bytes) in s_units)
        {
            if (upper.EndsWith(unit, StringComparison.Ordinal))
            {
                return double.TryParse(upper[..^unit.Length].TrimEnd(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value) && value > 0 && value * bytes < 1e18
                    ? value * bytes
                    : null;
            }
        }

        return null;
    }
}
