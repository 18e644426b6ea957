// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>Linux: texts that the kernel writes when they are read.</summary>
internal static class LinuxText
{
    /// <summary>Null where the file cannot be read.</summary>
    public static string[]? Lines(string path) => Read(path, File.ReadAllLines);

    /// <summary>The same of a file whose other lines the kernel had better not write.</summary>
    public static string? FirstLine(string path) => Read(path, p => File.ReadLines(p).FirstOrDefault());

    /// <summary>Of the line <c>KEY NUMBER kB</c>, in bytes; null where there is none.</summary>
    public static long? Kilobytes(string[] lines, string key)
    {
        string? line = lines.FirstOrDefault(l => l.StartsWith(key, StringComparison.Ordinal));
        string? number = line?[key.Length..].Trim().Split(' ')[0];
        return long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long value) && value <= long.MaxValue / 1024 ? value * 1024 : null;
    }

    /// <summary>Null for a file that is missing or says <c>max</c>.</summary>
    public static long? Number(string path) =>
        Lines(path) is [{ } first, ..] && long.TryParse(first.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : null;

    private static T? Read<T>(string path, Func<string, T?> read)
        where T : class
    {
        try
        {
            return read(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
