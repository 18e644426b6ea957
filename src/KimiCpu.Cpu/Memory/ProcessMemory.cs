// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>How much memory a process may still use, and what limits it.</summary>
/// <param name="AvailableBytes">Free, or held by caches that the system gives up on demand.</param>
/// <param name="TotalBytes">The machine's, or the limit where there is one.</param>
/// <param name="Limit">The control group or the memory nodes that limit; null where the machine itself does.</param>
internal sealed record ProcessMemory(long AvailableBytes, long TotalBytes, string? Limit)
{
    private static readonly Lazy<IReadOnlyList<int>?> s_bound = new(() => LinuxNodes.Bound("/"));

    /// <summary>
    /// What nobody uses, which pages that are given back add to. More than is available where the system counts what it has promised as taken, and below 0
    /// where a limit has been lowered below what is used: so much is to be given back before anything is free.
    /// </summary>
    public long UnusedBytes { get; init; } = AvailableBytes;

    /// <summary>What the system may still promise, where whoever asks for memory is promised all of it, used or not, or refused: Windows, and Linux where it is told so (<c>vm.overcommit_memory</c>). Else null.</summary>
    public long? UnpromisedBytes { get; init; }

    /// <summary>The garbage collection that measured it, where the system itself does not tell: until the next one it says nothing new. Else null.</summary>
    public long? Collection { get; init; }

    /// <summary>As it is now.</summary>
    public static ProcessMemory Now()
    {
        ProcessMemory? memory = OperatingSystem.IsLinux() ? LinuxMemory.Read("/", s_bound.Value)
            : OperatingSystem.IsWindows() ? WindowsMemory.Read()
            : OperatingSystem.IsMacOS() ? MacMemory.Read()
            : null;
        return memory ?? OfLastCollection();
    }

    /// <summary>What the runtime knows: as it was when it last collected garbage, which a model that decodes hardly ever causes.</summary>
    public static ProcessMemory OfLastCollection()
    {
        GCMemoryInfo gc = GC.GetGCMemoryInfo();
        return new ProcessMemory(Math.Max(0, gc.TotalAvailableMemoryBytes - gc.MemoryLoadBytes), gc.TotalAvailableMemoryBytes, null) { Collection = gc.Index };
    }
}
