// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

/// <summary>Machines with as much memory as a test says.</summary>
internal static class MadeUpMemory
{
    /// <param name="reserve">Bytes that are to stay free.</param>
    /// <param name="free">What nobody uses.</param>
    public static MemoryKeeper Keeper(long reserve, Func<long> free) => new(reserve, () => new ProcessMemory(free(), long.MaxValue, null));

    /// <summary>Where the system does not tell: what was free at a garbage collection, and the collection's number.</summary>
    /// <param name="reserve">Bytes that are to stay free.</param>
    /// <param name="read">Both.</param>
    public static MemoryKeeper Keeper(long reserve, Func<(long Free, long Collection)> read) => new(reserve, () =>
    {
        (long free, long collection) = read();
        return new ProcessMemory(free, long.MaxValue, null) { Collection = collection };
    });
}
