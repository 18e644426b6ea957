// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>
/// How much memory this process may still take before the system kills it or begins to swap: on Linux what the kernel calls
/// available, and what every control group around the process leaves, where cached file pages count as free; elsewhere what
/// .NET's collector knows.
/// </summary>
internal static class AvailableMemory
{
    /// <param name="root">Holds <c>proc</c> and <c>sys</c>; another folder in tests.</param>
    public static long Bytes(string root = "/")
    {
        GCMemoryInfo memory = GC.GetGCMemoryInfo();
        long known = Math.Max(0, memory.TotalAvailableMemoryBytes - memory.MemoryLoadBytes);
        return OperatingSystem.IsLinux() ? OfLinux(root) ?? known : known;
    }

    /// <summary>Null where the system does not say.</summary>
    internal static long? OfLinux(string root)
    {
        long? least = OfMachine(root);
        foreach (ControlGroup group in ControlGroup.OfThisProcess(root))
        {
            if (group.Available is { } bytes && !(bytes >= least))
            {
                least = bytes;
            }
        }

        return least;
    }

    private static long? OfMachine(string root)
    {
        foreach (string line in Lines(Path.Combine(root, "proc/meminfo")))
        {
            if (line.StartsWith("MemAvailable:", StringComparison.Ordinal)
                && long.TryParse(line.AsSpan("MemAvailable:".Length).Trim().TrimEnd("kB").TrimEnd(), NumberStyles.None, CultureInfo.InvariantCulture, out long kilobytes))
            {
                return kilobytes << 10;
            }
        }

        return null;
    }

    /// <summary>Empty where there is no such file, or it may not be read.</summary>
    internal static string[] Lines(string file)
    {
        try
        {
            return File.ReadAllLines(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
