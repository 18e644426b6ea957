// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>Linux: <c>/proc/meminfo</c>, the memory nodes that the process may use, and the limits of its control groups, versions 1 and 2.</summary>
internal static class LinuxMemory
{
    /// <summary>Of <c>vm.overcommit_memory</c>.</summary>
    private const long NeverTooMuch = 2;

    private static readonly GroupFiles s_version1 = new(["memory.limit_in_bytes"], "memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]);

    // Beyond the second limit nobody is killed, but slowed down until hardly anything goes on.
    private static readonly GroupFiles s_version2 = new(["memory.max", "memory.high"], "memory.current", ["inactive_file", "active_file"]);

    /// <param name="root">In place of <c>/</c>.</param>
    /// <param name="bound">Of <see cref="LinuxNodes.Bound"/>.</param>
    /// <returns>Null where the system does not tell.</returns>
    public static ProcessMemory? Read(string root, IReadOnlyList<int>? bound = null)
    {
        if (LinuxText.Lines(Path.Combine(root, "proc/meminfo")) is not { } lines || LinuxText.Kilobytes(lines, "MemTotal:") is not { } total)
        {
            return null;
        }

        long available = LinuxText.Kilobytes(lines, "MemAvailable:") is { } free ? Math.Min(total, free + ZfsCache(root)) : total;
        ProcessMemory memory = LinuxNodes.Read(root, bound) is { } nodes
            ? new ProcessMemory(Math.Min(available, nodes.AvailableBytes), Math.Min(total, nodes.TotalBytes), nodes.Name)
            : new ProcessMemory(available, total, null);
        foreach ((string folder, bool isVersion2) in LinuxGroups.Of(root, "memory"))
        {
            GroupFiles files = isVersion2 ? s_version2 : s_version1;
            if (files.Limits.Min(name => LinuxText.Number(Path.Combine(folder, name))) is not { } limit || limit >= total)
            {
                continue;
            }

            // Pages of files count as used, but are given up before anyone is refused, those in use too: another model's mapped experts, say. Locked ones are in neither list.
            long used = LinuxText.Number(Path.Combine(folder, files.Usage)) ?? 0;
            string[] statistics = LinuxText.Lines(Path.Combine(folder, "memory.stat")) ?? [];
            long cache = files.Cache.Sum(key => Bytes(statistics, key));
            long left = limit - Math.Max(0, used - cache);
            if (left < memory.UnusedBytes || limit < memory.TotalBytes)
            {
                long unused = Math.Min(memory.UnusedBytes, left);
                memory = new ProcessMemory(Math.Max(0, unused), Math.Min(memory.TotalBytes, limit), "/" + Path.GetRelativePath(root, folder)) { UnusedBytes = unused };
            }
        }

        return Unpromised(root, lines) is { } unpromised
            ? memory with { AvailableBytes = Math.Min(memory.AvailableBytes, unpromised), UnpromisedBytes = unpromised }
            : memory;
    }

    /// <summary>
    /// What the cache of OpenZFS gives back on demand, as pages of files are, but which the kernel does not count as available: all beyond its least size. It may be half of the memory after a download.
    /// A container whose memory LXCFS tells of sees the host's cache, which is none of its own.
    /// </summary>
    private static long ZfsCache(string root)
    {
        const int MountPoint = 4;
        if ((LinuxText.Lines(Path.Combine(root, "proc/self/mountinfo")) ?? []).Any(l => l.Split(' ') is var fields && fields.Length > MountPoint && fields[MountPoint] == "/proc/meminfo"))
        {
            return 0;
        }

        string[] lines = LinuxText.Lines(Path.Combine(root, "proc/spl/kstat/zfs/arcstats")) ?? [];
        return Math.Max(0, Statistic(lines, "size") - Statistic(lines, "c_min"));
    }

    /// <summary>Of lines of a name, a type and a value.</summary>
    private static long Statistic(string[] lines, string name)
    {
        foreach (string line in lines)
        {
            string[] parts = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (parts.Length == 3 && parts[0] == name && long.TryParse(parts[2], NumberStyles.None, CultureInfo.InvariantCulture, out long value))
            {
                return value;
            }
        }

        return 0;
    }

    /// <summary>What may still be promised where the kernel promises no more than it has; null where it promises anything, as usual.</summary>
    private static long? Unpromised(string root, string[] lines) =>
        LinuxText.Number(Path.Combine(root, "proc/sys/vm/overcommit_memory")) == NeverTooMuch
        && LinuxText.Kilobytes(lines, "CommitLimit:") is { } limit && LinuxText.Kilobytes(lines, "Committed_AS:") is { } promised
            ? Math.Max(0, limit - promised)
            : null;

    private static long Bytes(string[] lines, string key)
    {
        string? line = lines.FirstOrDefault(l => l.StartsWith(key + " ", StringComparison.Ordinal));
        return long.TryParse(line?[(key.Length + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : 0;
    }

    /// <param name="Limits">Each says how much a group may use; the lowest counts.</param>
    /// <param name="Usage">What it uses.</param>
    /// <param name="Cache">In <c>memory.stat</c>: what of that the system takes back on demand.</param>
    private sealed record GroupFiles(string[] Limits, string Usage, string[] Cache);
}
