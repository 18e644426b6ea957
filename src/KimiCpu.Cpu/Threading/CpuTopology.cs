// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.Threading;

/// <summary>Which logical processors this process may use, one per physical core first.</summary>
internal static partial class CpuTopology
{
    private const int MaskBytes = 1024 / 8;

    /// <summary>
    /// One logical processor of each physical core that this process may run on. Second hyper-threads are left out:
    /// they add no bandwidth and slow the first ones down. Limited by the processor quota of a container.
    /// </summary>
    public static IReadOnlyList<int> PhysicalCores { get; } = FindPhysicalCores();

    /// <summary>Ties the calling thread to one logical processor; false where the system does not allow it.</summary>
    public static unsafe bool TryPin(int processor)
    {
        try
        {
            if (OperatingSystem.IsLinux() && processor < 8 * MaskBytes)
            {
                byte* mask = stackalloc byte[MaskBytes];
                new Span<byte>(mask, MaskBytes).Clear();
                mask[processor / 8] = (byte)(1 << (processor % 8));
                return SetAffinity(0, MaskBytes, mask) == 0;
            }

            return OperatingSystem.IsWindows() && processor < 64 && SetThreadAffinityMask(GetCurrentThread(), (nuint)1 << processor) != 0;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    private static List<int> FindPhysicalCores()
    {
        List<int> allowed = OperatingSystem.IsLinux() ? AllowedOnLinux() : [.. Enumerable.Range(0, Environment.ProcessorCount)];
        var seen = new HashSet<string>();
        List<int> cores = [.. allowed.Where(cpu => seen.Add(SiblingsOf(cpu)))];

        // ProcessorCount knows a container's quota, which the affinity mask does not show.
        return cores.Count == 0 ? [0] : cores[..Math.Min(cores.Count, Environment.ProcessorCount)];
    }

    /// <summary>A text equal for the hyper-threads of one core; unique where the system does not tell.</summary>
    private static string SiblingsOf(int cpu)
    {
        try
        {
            return File.ReadAllText($"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return cpu.ToString(CultureInfo.InvariantCulture);
        }
    }

    private static unsafe List<int> AllowedOnLinux()
    {
        byte* mask = stackalloc byte[MaskBytes];
        new Span<byte>(mask, MaskBytes).Clear();
        if (GetAffinity(0, MaskBytes, mask) != 0)
        {
            return [.. Enumerable.Range(0, Environment.ProcessorCount)];
        }

        var allowed = new List<int>();
        for (int cpu = 0; cpu < 8 * MaskBytes; cpu++)
        {
            if ((mask[cpu / 8] >> (cpu % 8) & 1) != 0)
            {
                allowed.Add(cpu);
            }
        }

        return allowed;
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static unsafe partial int SetAffinity(int thread, nuint size, byte* mask);

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static unsafe partial int GetAffinity(int thread, nuint size, byte* mask);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentThread();

    [LibraryImport("kernel32")]
    private static partial nuint SetThreadAffinityMask(nint thread, nuint mask);
}
