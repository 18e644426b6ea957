// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>Which processors threads may run on.</summary>
internal static unsafe partial class ThreadAffinity
{
    public const int MostProcessors = 8192;

    private const int MaskBytes = MostProcessors / 8;

    /// <summary>Ties the calling thread to some processors; false where the system does not allow it. On Windows: to those in the group of the first.</summary>
    public static bool TryTie(ReadOnlySpan<int> processors)
    {
        if (processors.IsEmpty)
        {
            return false;
        }

        try
        {
            return OperatingSystem.IsLinux() ? TieOnLinux(processors) : OperatingSystem.IsWindows() && TieOnWindows(processors);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>
    /// Linux: processors of the main thread's mask, which .NET gives to new threads too; null where it cannot be read. The calling thread may be one that
    /// its owner has tied to a few.
    /// </summary>
    public static List<int>? OfProcess()
    {
        byte* mask = stackalloc byte[MaskBytes];
        new Span<byte>(mask, MaskBytes).Clear();
        try
        {
            if (GetAffinity(Environment.ProcessId, MaskBytes, mask) != 0)
            {
                return null;
            }
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }

        var processors = new List<int>();
        for (int cpu = 0; cpu < MostProcessors; cpu++)
        {
            if ((mask[cpu / 8] >> (cpu % 8) & 1) != 0)
            {
                processors.Add(cpu);
            }
        }

        return processors;
    }

    private static bool TieOnLinux(ReadOnlySpan<int> processors)
    {
        byte* mask = stackalloc byte[MaskBytes];
        new Span<byte>(mask, MaskBytes).Clear();
        foreach (int cpu in processors)
        {
            if (cpu < MostProcessors)
            {
                mask[cpu / 8] |= (byte)(1 << (cpu % 8));
            }
        }

        return SetAffinity(0, MaskBytes, mask) == 0;
    }

    private static bool TieOnWindows(ReadOnlySpan<int> processors)
    {
        int group = processors[0] / WindowsTopology.GroupSize;
        var affinity = new GroupAffinity { Group = (ushort)group };
        foreach (int cpu in processors)
        {
            if (cpu / WindowsTopology.GroupSize == group)
            {
                affinity.Mask |= (nuint)1 << (cpu % WindowsTopology.GroupSize);
            }
        }

        return SetThreadGroupAffinity(GetCurrentThread(), affinity, 0) != 0;
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nuint size, byte* mask);

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nuint size, byte* mask);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentThread();

    [LibraryImport("kernel32")]
    private static partial int SetThreadGroupAffinity(nint thread, in GroupAffinity affinity, nint before);

    [StructLayout(LayoutKind.Sequential)]
    private struct GroupAffinity
    {
        public nuint Mask;
        public ushort Group;
        public ushort Reserved0;
        public ushort Reserved1;
        public ushort Reserved2;
    }
}
