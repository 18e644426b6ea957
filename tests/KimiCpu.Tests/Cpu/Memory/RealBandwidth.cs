// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using NUnit.Framework.Constraints;

namespace KimiCpu.Tests.Cpu.Memory;

/// <summary>What a measurement of this machine's memory has to give.</summary>
internal static class RealBandwidth
{
    private const long MuchMemory = 4L << 30;

    /// <summary>So many times the caches are more than the buffer of a measurement needs.</summary>
    private const int ManyCaches = 100;

    /// <summary>A number that a memory can have, in bytes/s; where there is little memory, it may also be null.</summary>
    public static IResolveConstraint IsMeasured => HasMuchMemory() ? Is.Not.Null.And.InRange(1e9, 5e12) : Is.Null.Or.InRange(1e9, 5e12);

    /// <summary>By the system, and by .NET, which knows of a container's limit.</summary>
    private static bool HasMuchMemory()
    {
        const string Available = "MemAvailable:";
        string[] lines = File.Exists("/proc/meminfo") ? File.ReadAllLines("/proc/meminfo") : [];
        string? line = lines.FirstOrDefault(l => l.StartsWith(Available, StringComparison.Ordinal));
        long needed = Math.Max(MuchMemory, ManyCaches * CpuCaches.LastLevelBytes);
        return line is not null
            && long.Parse(line[Available.Length..].Replace("kB", "", StringComparison.Ordinal), System.Globalization.CultureInfo.InvariantCulture) * 1024 >= needed
            && GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >= needed;
    }
}
