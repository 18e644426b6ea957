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

    public static IEnumerable<LogicalProcessor> Read()
    {
        try
        {
            byte[] cores = Query(Cores);
            byte[] nodes = Query(NodesOfAllGroups);
            return Read(cores, nodes.Length > 0 ? nodes : Query(NodesOfOneGroup), AllowedMask(), Environment.ProcessorCount);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return CpuTopology.Unknown(Environment.ProcessorCount);
        }
    }

    /// <param name="cores">Records of the physical cores.</param>
    /// <param name="nodes">Records of the nodes.</param>
    /// <param name="allowed">The process's mask, which counts where there is one group only; 0 for no limit.</param>
    /// <param name="count">Processors where nothing else is known.</param>
    public static IEnumerable<LogicalProcessor> Read(ReadOnlySpan<byte> cores, ReadOnlySpan<byte> nodes, ulong allowed, int count)
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
            found.AddRange(processors.Select(p => new LogicalProcessor(p, core, nodeOf.GetValueOrDefault(p, 0))));
            core++;
        }

        if (allowed != 0 && found.All(p => p.Id < GroupSize))
        {
            found.RemoveAll(p => (allowed >> p.Id & 1) == 0);
        }

        return found.Count > 0 ? found : CpuTopology.Unknown(count);
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

    [LibraryImport("kernel32")]
    private static partial int GetLogicalProcessorInformationEx(int kind, byte* buffer, ref uint length);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentProcess();

    [LibraryImport("kernel32")]
    private static partial int GetProcessAffinityMask(nint process, out nuint allowed, out nuint all);
}
