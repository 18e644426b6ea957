// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu.Threading;

/// <summary>Linux: the process's affinity mask, and what <c>/sys/devices/system</c> says about the processors in it.</summary>
internal static class LinuxTopology
{
    /// <summary>For the whole process, whoever asks first.</summary>
    public static CpuTopology OfThisProcess() =>
        Read("/", ThreadAffinity.OfProcess(), Environment.ProcessorCount, Environment.GetEnvironmentVariable("DOTNET_PROCESSOR_COUNT"));

    /// <param name="root">In place of <c>/</c>.</param>
    /// <param name="allowed">Processors of the affinity mask; null where it is not known.</param>
    /// <param name="count">What .NET counts.</param>
    /// <param name="wanted">What the user wants it to count; null for what there is.</param>
    public static CpuTopology Read(string root, IReadOnlyList<int>? allowed, int count, string? wanted) =>
        new(Read(Path.Combine(root, "sys/devices/system"), allowed, count), LinuxQuota.Read(root, count, wanted));

    /// <param name="folder">In place of <c>/sys/devices/system</c>.</param>
    /// <param name="allowed">Processors of the affinity mask; null where it is not known.</param>
    /// <param name="count">Processors where nothing else is known.</param>
    public static IEnumerable<LogicalProcessor> Read(string folder, IReadOnlyList<int>? allowed, int count)
    {
        // The kernel leaves processors that are off out of the mask. The list of those that are on may be LXCFS's, which numbers a container's from 0.
        IEnumerable<int> usable = allowed ?? ReadList(Path.Combine(folder, "cpu", "online")) ?? Enumerable.Range(0, count);
        Dictionary<int, int> nodes = ReadNodes(Path.Combine(folder, "node"));
        int unknownNode = nodes.Count > 0 ? nodes.Values.Min() : 0;
        return [.. usable.Select(cpu => new LogicalProcessor(cpu, CoreOf(folder, cpu), nodes.GetValueOrDefault(cpu, unknownNode), CacheOf(folder, cpu)))];
    }

    /// <summary>Reads lists such as <c>0-3,8-11</c>; null where the text is none.</summary>
    public static List<int>? ParseList(string text)
    {
        var numbers = new List<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            int dash = part.IndexOf('-', StringComparison.Ordinal);
            if (!TryParse(dash < 0 ? part : part[..dash], out int first) || !TryParse(dash < 0 ? part : part[(dash + 1)..], out int last)
                || last < first || last >= ThreadAffinity.MostProcessors)
            {
                return null;
            }

            numbers.AddRange(Enumerable.Range(first, last - first + 1));
        }

        return numbers;
    }

    private static bool TryParse(string text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    /// <summary>The lowest of the hyper-threads of a core stands for it; a processor without such a list stands for itself.</summary>
    private static int CoreOf(string folder, int cpu) => FirstBeside(folder, cpu, Path.Combine("topology", "thread_siblings_list")) ?? cpu;

    /// <summary>The lowest of the processors that share a third-level cache stands for it.</summary>
    private static int CacheOf(string folder, int cpu) => FirstBeside(folder, cpu, Path.Combine("cache", "index3", "shared_cpu_list")) ?? 0;

    /// <summary>The first of a list that has the processor itself; null where there is none.</summary>
    private static int? FirstBeside(string folder, int cpu, string list) =>
        ReadList(Path.Combine(folder, "cpu", string.Create(CultureInfo.InvariantCulture, $"cpu{cpu}"), list)) is { Count: > 0 } beside && beside.Contains(cpu) ? beside.Min() : null;

    /// <summary>The node of each processor; empty on a kernel without nodes.</summary>
    private static Dictionary<int, int> ReadNodes(string folder)
    {
        var nodes = new Dictionary<int, int>();
        try
        {
            foreach (string path in Directory.GetDirectories(folder, "node*"))
            {
                if (TryParse(Path.GetFileName(path)["node".Length..], out int node))
                {
                    ReadList(Path.Combine(path, "cpulist"))?.ForEach(cpu => nodes[cpu] = node);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            nodes.Clear();
        }

        return nodes;
    }

    private static List<int>? ReadList(string path)
    {
        try
        {
            return ParseList(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
