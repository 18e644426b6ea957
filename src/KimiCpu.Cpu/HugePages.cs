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

    private const int ReadAndWrite = 3;
    private const int PrivateFixedAnonymousOnMac = 0x1012;

    public static void Advise(byte* block, nuint bytes)
    {
        if (OperatingSystem.IsLinux() && bytes >= WorthwhileBytes)
        {
            Tell(block, bytes / Bytes * Bytes, AdviceHugePage);
        }
    }

    /// <summary>
    /// Gives the whole pages of a block back to the system. What they hold when they are touched again is zeros on Linux and macOS, and elsewhere anything.
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
        else if (OperatingSystem.IsMacOS())
        {
            MapAnew((byte*)first, end - first, PrivateFixedAnonymousOnMac);
        }
        else
        {
            Tell((byte*)first, end - first, AdviceDontNeed);
        }
    }

    /// <summary>
    /// Fresh pages in the place of those that are there. What macOS has for advice, <c>MADV_FREE</c>, leaves pages counted as used until the system runs short, so that
    /// whoever gives back by what is left over would never stop.
    /// </summary>
    /// <param name="address">Of the first page.</param>
    /// <param name="length">Of whole pages.</param>
    /// <param name="flags">Of the system: private, fixed, anonymous.</param>
    internal static void MapAnew(byte* address, nuint length, int flags)
    {
        // Where it is refused the pages stay as they are.
        _ = MapMemory(address, length, ReadAndWrite, flags, -1, 0);
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

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial byte* MapMemory(byte* address, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int MemoryAdvise(byte* address, nuint length, int advice);
}
