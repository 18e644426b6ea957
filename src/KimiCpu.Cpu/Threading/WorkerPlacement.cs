// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Threading;

/// <summary>Workers that read one node's memory; their indices follow one another.</summary>
/// <param name="First">Index of the first.</param>
/// <param name="Threads">How many.</param>
/// <param name="Processors">All processors of the node; empty where nothing ties the workers to it.</param>
internal sealed record WorkerNode(int First, int Threads, int[] Processors);

/// <summary>Which worker runs where.</summary>
internal sealed class WorkerPlacement
{
    private readonly int[][] _processors;

    private WorkerPlacement(CpuTopology topology, WorkerNode[] nodes, bool cores)
    {
        Nodes = nodes;
        _processors = cores ? OnCores(topology) : [.. nodes.SelectMany(n => Floating(topology, n))];
    }

    /// <summary>At least one; node 0 has worker 0, which is the caller.</summary>
    public IReadOnlyList<WorkerNode> Nodes { get; }

    /// <summary>
    /// Whether so many threads can have a core each. Fewer or more threads float. So do all of them where a quota allows less
    /// time than there are cores: several containers, each tied to the same first cores, would share those and leave the rest.
    /// </summary>
    public static bool SuitsCores(CpuTopology topology, int threads) => threads == topology.PhysicalCores.Count && topology.Quota >= threads;

    /// <summary>Divides threads among the nodes in proportion to their cores.</summary>
    /// <param name="topology">Of the machine.</param>
    /// <param name="threads">How many.</param>
    /// <param name="cores">Whether each has a core of its own; else it may run on any processor of its node.</param>
    public static WorkerPlacement Of(CpuTopology topology, int threads, bool cores)
    {
        if (topology.Nodes.Count == 1 || threads < topology.Nodes.Count)
        {
            return new WorkerPlacement(topology, [new WorkerNode(0, threads, [])], cores);
        }

        List<WorkerNode> nodes = [];
        int coresBefore = 0;
        foreach (int node in topology.Nodes)
        {
            int coresAfter = coresBefore + topology.PhysicalCores.Count(c => c.Node == node);
            int first = Cut(coresBefore);
            int count = Cut(coresAfter) - first;
            if (count > 0)
            {
                nodes.Add(new WorkerNode(first, count, topology.ProcessorsOf(node)));
            }

            coresBefore = coresAfter;
        }

        return new WorkerPlacement(topology, [.. nodes], cores);

        int Cut(int before) => (int)((long)threads * before / topology.PhysicalCores.Count);
    }

    /// <summary>Processors for a worker; empty where it may run anywhere.</summary>
    public int[] ProcessorsOf(int worker) => _processors[worker];

    /// <summary>For each worker a core's processors, all of them: it can leave one that another process, or another thread of this one, is on for the one beside it.</summary>
    private static int[][] OnCores(CpuTopology topology)
    {
        ILookup<int, int> processors = topology.Processors.ToLookup(p => p.Core, p => p.Id);
        return [.. topology.PhysicalCores.Select(c => processors[c.Core].ToArray())];
    }

    /// <summary>
    /// For each worker of a node all of its processors, or those of one group where there are several: the workers are divided among the groups in proportion to
    /// their processors, since a thread can be tied to one only, and before Windows 11 one that is not tied stays in the process's.
    /// </summary>
    private static IEnumerable<int[]> Floating(CpuTopology topology, WorkerNode node)
    {
        LogicalProcessor[] all = [.. topology.Processors.Where(p => node.Processors.Length == 0 || node.Processors.Contains(p.Id)).OrderBy(p => p.Group)];
        Dictionary<int, int[]> groups = all.GroupBy(p => p.Group).ToDictionary(g => g.Key, g => g.Select(p => p.Id).ToArray());
        return Enumerable.Range(0, node.Threads).Select(i => groups.Count == 1 ? node.Processors : groups[all[(long)i * all.Length / node.Threads].Group]);
    }
}
