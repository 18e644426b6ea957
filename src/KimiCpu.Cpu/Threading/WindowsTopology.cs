// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>Windows: cores and nodes as masks of processor groups of up to 64.</summary>
internal static unsafe partial class WindowsTopology
{
    public const int GroupSize = 64;

    private const int Cores = 0;
    private const int NodesOfOneGroup = 1;
    private const int NodesOfAllGroups = 6;

    // SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX: the kind, the size, and a body. Bodies of cores and of nodes end alike.
    private const int SizeAt = 4;
    private const int NodeNumberAt = 8;
    private const int MaskCountAt = 30;
    private const int MasksAt = 32;

    // GROUP_AFFINITY of 64-bit systems.
    private const int GroupAt = 8;
    private const int MaskBytes = 16;

    /// <summary>Windows 11 and Server 2022: a process that nobody restricts runs in all groups.</summary>
    private const int FirstBuildOfAllGroups = 20348;

    public static CpuTopology OfThisProcess()
    {
        int count = Environment.ProcessorCount;
        List<LogicalProcessor> found = Read(count);
        bool isLimit = Environment.GetEnvironmentVariable("DOTNET_PROCESSOR_COUNT") is not null || WindowsJob.LimitsThisProcess();
        return new CpuTopology(found, Quota(found, count, isLimit));
    }

    /// <param name="cores">Records of the physical cores.</param>
    /// <param name="nodes">Records of the nodes.</param>
    /// <param name="affinity">What restricts the process.</param>
    /// <param name="count">Processors where nothing else is known.</param>
    public static List<LogicalProcessor> Read(ReadOnlySpan<byte> cores, ReadOnlySpan<byte> nodes, WindowsAffinity affinity, int count)
    {
        Dictionary<int, int> nodeOf = [];
        foreach ((int node, List<int> processors) in Records(nodes))
        {
            processors.ForEach(p => nodeOf[p] = node);
        }

        List<LogicalProcessor> found = [];
        int core = 0;
        foreach ((_, List<int> processors) in Records(cores))
        {
            found.AddRange(processors.Select(p => new LogicalProcessor(p, core, nodeOf.GetValueOrDefault(p, 0), Group: p / GroupSize)));
            core++;
        }

        found = affinity.Restrict(found);
        return found.Count > 0 ? found : [.. CpuTopology.Unknown(count)];
    }

    /// <summary>
    /// The limit that .NET's count of processors stands for; null for none. Where the runtime does not use all groups, as before Windows 11 and by
    /// some settings, it counts those of one group, and this says nothing of the others, to which threads can be tied all the same.
    /// </summary>
    /// <param name="found">Processors that the process may use.</param>
    /// <param name="count">What .NET counts.</param>
    /// <param name="isLimit">Whether the user has set that count, or a job's limit is in it, which may be as large as a group.</param>
    public static int? Quota(IReadOnlyList<LogicalProcessor> found, int count, bool isLimit)
    {
        int[] sizes = [.. found.CountBy(p => p.Group).Select(g => g.Value)];
        return !isLimit && sizes.Length > 1 && sizes.Contains(count) ? null : count;
    }

    private static List<LogicalProcessor> Read(int count)
    {
        try
        {
            byte[] cores = Query(Cores);
            byte[] nodes = Query(NodesOfAllGroups);
            var affinity = new WindowsAffinity(AllowedMask(), AllowedGroups(), OperatingSystem.IsWindowsVersionAtLeast(10, 0, FirstBuildOfAllGroups));
            return Read(cores, nodes.Length > 0 ? nodes : Query(NodesOfOneGroup), affinity, count);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return [.. CpuTopology.Unknown(count)];
        }
    }

    private static List<(int Number, List<int> Processors)> Records(ReadOnlySpan<byte> rest)
    {
        List<(int Number, List<int> Processors)> records = [];
        while (rest.Length >= MasksAt + MaskBytes)
        {
            int size = BinaryPrimitives.ReadInt32LittleEndian(rest[SizeAt..]);
            if (size < MasksAt + MaskBytes || size > rest.Length)
            {
                break;
            }

            // Older systems have one mask and a zero for its count.
            int masks = Math.Clamp((int)BinaryPrimitives.ReadUInt16LittleEndian(rest[MaskCountAt..]), 1, (size - MasksAt) / MaskBytes);
            List<int> processors = [];
            for (int m = 0; m < masks; m++)
            {
                ReadOnlySpan<byte> entry = rest[(MasksAt + (m * MaskBytes))..];
                int first = GroupSize * BinaryPrimitives.ReadUInt16LittleEndian(entry[GroupAt..]);
                for (ulong mask = BinaryPrimitives.ReadUInt64LittleEndian(entry); mask != 0; mask &= mask - 1)
                {
                    processors.Add(first + BitOperations.TrailingZeroCount(mask));
                }
            }

            records.Add((BinaryPrimitives.ReadInt32LittleEndian(rest[NodeNumberAt..]), processors));
            rest = rest[size..];
        }

        return records;
    }

    /// <summary>Empty where the system does not tell, or on a 32-bit one.</summary>
    private static byte[] Query(int kind)
    {
        uint length = 0;
        if (!Environment.Is64BitProcess || GetLogicalProcessorInformationEx(kind, null, ref length) != 0 || length == 0)
        {
            return [];
        }

        var buffer = new byte[length];
        fixed (byte* start = buffer)
        {
            return GetLogicalProcessorInformationEx(kind, start, ref length) != 0 ? buffer[..(int)Math.Min(length, (uint)buffer.Length)] : [];
        }
    }

    private static ulong AllowedMask() => GetProcessAffinityMask(GetCurrentProcess(), out nuint allowed, out _) != 0 ? allowed : 0;

    /// <summary>Empty where the system does not tell.</summary>
    private static int[] AllowedGroups()
    {
        ushort length = 0;
        if (GetProcessGroupAffinity(GetCurrentProcess(), ref length, null) != 0 || length == 0)
        {
            return [];
        }

        var groups = new ushort[length];
        fixed (ushort* start = groups)
        {
            return GetProcessGroupAffinity(GetCurrentProcess(), ref length, start) != 0 ? [.. groups.Take(length).Select(g => (int)g)] : [];
        }
    }

    [LibraryImport("kernel32")]
    private static partial int GetLogicalProcessorInformationEx(int kind, byte* buffer, ref uint length);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentProcess();

    [LibraryImport("kernel32")]
    private static partial int GetProcessAffinityMask(nint process, out nuint allowed, out nuint all);

    [LibraryImport("kernel32")]
    private static partial int GetProcessGroupAffinity(nint process, ref ushort count, ushort* groups);
}
