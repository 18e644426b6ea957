// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Cpu;

/// <summary>
/// Linux: the memory nodes that a process may have memory of, where they are not all: since its control group says so (<c>cpuset.mems</c>), or who
/// started it (<c>numactl --membind</c>). When they are full the kernel takes nothing of the others, but ends somebody.
/// </summary>
/// <param name="AvailableBytes">Free in these nodes, or held by files' pages.</param>
/// <param name="TotalBytes">Of these nodes.</param>
/// <param name="Name">For people.</param>
internal sealed record LinuxNodes(long AvailableBytes, long TotalBytes, string Name)
{
    /// <summary>The nodes that who started the process has bound it to; null where nobody has. The kernel looks at pages for the answer, so this is to be asked once, while there are few.</summary>
    /// <param name="root">In place of <c>/</c>.</param>
    public static IReadOnlyList<int>? Bound(string root)
    {
        // A piece of memory says whose policy it follows: that of the process, where it has none of its own, as the program's file. ADDRESS bind:NODES …
        string? policy = LinuxText.FirstLine(Path.Combine(root, "proc/self/numa_maps"))?.Split(' ') is [_, { } found, ..] ? found : null;
        return policy?.StartsWith("bind", StringComparison.Ordinal) == true ? LinuxTopology.ParseList(policy[(policy.LastIndexOf(':') + 1)..]) : null;
    }

    /// <param name="root">In place of <c>/</c>.</param>
    /// <param name="bound">Of <see cref="Bound"/>.</param>
    /// <returns>Null where every node that has memory may be used, or the system does not tell.</returns>
    public static LinuxNodes? Read(string root, IReadOnlyList<int>? bound)
    {
        string? list = LinuxText.Lines(Path.Combine(root, "proc/self/status"))?.FirstOrDefault(l => l.StartsWith("Mems_allowed_list:", StringComparison.Ordinal));
        List<int>? group = list is null ? null : LinuxTopology.ParseList(list[(list.IndexOf(':', StringComparison.Ordinal) + 1)..]);
        Dictionary<int, (long Total, long Available)> nodes = Nodes(Path.Combine(root, "sys/devices/system/node"));
        int[] used = [.. nodes.Keys.Where(n => group?.Contains(n) != false && bound?.Contains(n) != false).Order()];
        return used.Length == 0 || used.Length == nodes.Count
            ? null
            : new LinuxNodes(used.Sum(n => nodes[n].Available), used.Sum(n => nodes[n].Total), $"memory node{(used.Length > 1 ? "s" : "")} {string.Join(", ", used)}");
    }

    /// <summary>Those that have memory.</summary>
    private static Dictionary<int, (long Total, long Available)> Nodes(string folder)
    {
        var nodes = new Dictionary<int, (long, long)>();
        foreach (int node in LinuxText.Lines(Path.Combine(folder, "has_memory")) is [{ } list, ..] ? LinuxTopology.ParseList(list) ?? [] : [])
        {
            // Node 0 MemTotal: …
            string[] lines = [.. (LinuxText.Lines(Path.Combine(folder, FormattableString.Invariant($"node{node}/meminfo"))) ?? []).Select(l => l.Split(' ', 3)[^1])];
            if (LinuxText.Kilobytes(lines, "MemTotal:") is { } total and > 0)
            {
                string[] available = ["MemFree:", "Active(file):", "Inactive(file):"];
                nodes[node] = (total, available.Sum(key => LinuxText.Kilobytes(lines, key) ?? 0));
            }
        }

        return nodes;
    }
}
