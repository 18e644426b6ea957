// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu;

/// <summary>
/// Asks for pages of 2 MiB, which spare most address translations when weights and caches stream by. Linux gives them on
/// advice (transparent huge pages); elsewhere memory stays as it is. And gives pages back while their block lives on.
/// </summary>
internal static unsafe partial class HugePages
{
    public const nuint Bytes = 2 << 20;

    /// <summary>Smaller blocks would waste most of a page.</summary>
    public const nuint WorthwhileBytes = 2 * Bytes;

    private const int AdviceHugePage = 14;
    private const int AdviceDontNeed = 4;
    private const int AdviceFreeOnMac = 5;

    public static void Advise(byte* block, nuint bytes)
    {
        if (OperatingSystem.IsLinux() && bytes >= WorthwhileBytes)
        {
            Tell(block, bytes / Bytes * Bytes, AdviceHugePage);
        }
    }

    /// <summary>
    /// Gives the whole pages of a block back to the system. What they hold when they are touched again is zeros on Linux, and elsewhere anything.
    /// </summary>
    public static void GiveBack(byte* block, nuint bytes)
    {
        // The system would round the end up, to what lies behind the block.
        var page = (nuint)Environment.SystemPageSize;
        nuint first = ((nuint)block + page - 1) / page * page;
        nuint end = ((nuint)block + bytes) / page * page;
        if (end <= first)
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            _ = DiscardVirtualMemory((byte*)first, end - first);
        }
        else
        {
            Tell((byte*)first, end - first, OperatingSystem.IsMacOS() ? AdviceFreeOnMac : AdviceDontNeed);
        }
    }

    private static void Tell(byte* address, nuint length, int advice)
    {
        try
        {
            _ = MemoryAdvise(address, length, advice);
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            // Nobody takes the advice; as where it is refused, the memory is as good without.
        }
    }

    [LibraryImport("kernel32")]
    private static partial int DiscardVirtualMemory(byte* address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int MemoryAdvise(byte* address, nuint length, int advice);
}
