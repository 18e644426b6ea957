// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>A logical processor that this process may use.</summary>
/// <param name="Id">How the system numbers it; on Windows 64 times its group and its number there.</param>
/// <param name="Core">Equal for the hyper-threads of one physical core, different for those of two.</param>
/// <param name="Node">The NUMA node whose memory is near.</param>
/// <param name="Cache">Equal for those that share a third-level cache; 0 where that is not known.</param>
/// <param name="Group">Equal for those that one thread can be tied to; on Windows the processor group.</param>
internal readonly record struct LogicalProcessor(int Id, int Core, int Node, int Cache = 0, int Group = 0);

/// <summary>The processors that a process may use, as a value.</summary>
internal sealed class CpuTopology
{
    private readonly double _time;

    /// <param name="processors">In any order; none counts as one.</param>
    /// <param name="quota">Processors' worth of time that a container grants, not always a whole number; null without a limit.</param>
    public CpuTopology(IEnumerable<LogicalProcessor> processors, double? quota = null)
    {
        Processors = [.. processors.OrderBy(p => p.Node).ThenBy(p => p.Id)];
        if (Processors.Count == 0)
        {
            Processors = [default];
        }

        PhysicalCores = [.. Processors.DistinctBy(p => p.Core)
            .GroupBy(core => (core.Node, core.Cache))
            .SelectMany(cache => cache.Select((core, turn) => (Core: core, Turn: turn)))
            .OrderBy(c => c.Core.Node).ThenBy(c => c.Turn)
            .Select(c => c.Core)];
        Nodes = [.. Processors.Select(p => p.Node).Distinct()];
        _time = Math.Min(quota ?? Processors.Count, Processors.Count);
        Quota = Math.Max(1, (int)Math.Ceiling(_time));
    }

    /// <summary>What the system says of this process. A container's quota is part of it, though no affinity mask shows it.</summary>
    public static CpuTopology OfThisProcess { get; } =
        OperatingSystem.IsWindows() ? WindowsTopology.OfThisProcess()
            : OperatingSystem.IsLinux() ? LinuxTopology.OfThisProcess()
            : new(OperatingSystem.IsMacOS() ? MacTopology.Read() : Unknown(Environment.ProcessorCount), Environment.ProcessorCount);

    /// <summary>Node by node, and by rising id.</summary>
    public IReadOnlyList<LogicalProcessor> Processors { get; }

    /// <summary>
    /// The first logical processor of each physical core, node by node; the others add no bandwidth and slow the first ones down. Within a node one of each third-level
    /// cache, another of each, and so on, since where fewer threads than cores are active those are the first ones: the cores of one cache share a link to memory, which they fill.
    /// </summary>
    public IReadOnlyList<LogicalProcessor> PhysicalCores { get; }

    /// <summary>Nodes that have processors, by rising number.</summary>
    public IReadOnlyList<int> Nodes { get; }

    /// <summary>Processors' worth of time that this process may use; one that it may use in part counts.</summary>
    public int Quota { get; }

    /// <summary>One per physical core, but no more than the quota.</summary>
    public int DefaultThreads => Math.Min(PhysicalCores.Count, Quota);

    /// <summary>Whether so many threads can all run, or wait, all the time, each on a core.</summary>
    public bool HasRoomFor(int threads) => threads <= PhysicalCores.Count && threads <= _time;

    /// <summary>Processors of which nothing is known: each a core, all on one node.</summary>
    public static IEnumerable<LogicalProcessor> Unknown(int count) => Enumerable.Range(0, count).Select(i => new LogicalProcessor(i, i, 0));

    /// <summary>Ids of a node's logical processors.</summary>
    public int[] ProcessorsOf(int node) => [.. Processors.Where(p => p.Node == node).Select(p => p.Id)];
}
