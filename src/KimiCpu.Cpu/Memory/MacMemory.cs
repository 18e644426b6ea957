// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu;

/// <summary>macOS: the kernel's counts of pages.</summary>
internal static unsafe partial class MacMemory
{
    /// <summary><c>HOST_VM_INFO64</c>.</summary>
    private const int PageCounts = 4;

    /// <summary>Asked for once, since each answer is a right of its own that nobody gives back.</summary>
    private static uint s_host;

    /// <returns>Null where the system does not tell.</returns>
    public static ProcessMemory? Read()
    {
        long total = 0;
        nuint size = sizeof(long);
        var pages = new Pages();
        uint words = (uint)(sizeof(Pages) / sizeof(int));
        try
        {
            s_host = s_host != 0 ? s_host : GetHost();
            return ReadValue("hw.memsize", &total, ref size, null, 0) == 0 && ReadStatistics(s_host, PageCounts, &pages, ref words) == 0
                ? Of(pages, Environment.SystemPageSize, total)
                : null;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Pages of files are given up on demand. Those that were read ahead are among the free ones too, and count once.</summary>
    public static ProcessMemory Of(in Pages pages, int pageBytes, long total) =>
        new(Math.Min(total, (Math.Max(0L, pages.Free - (long)pages.ReadAhead) + pages.OfFiles + pages.Purgeable) * pageBytes), total, null);

    [LibraryImport("libc", EntryPoint = "mach_host_self")]
    private static partial uint GetHost();

    [LibraryImport("libc", EntryPoint = "host_statistics64")]
    private static partial int ReadStatistics(uint host, int kind, Pages* pages, ref uint words);

    [LibraryImport("libc", EntryPoint = "sysctlbyname", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ReadValue(string name, void* value, ref nuint size, void* newValue, nuint newSize);

    /// <summary><c>vm_statistics64</c>, as long as it has been since macOS 10.9.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 152)]
    internal struct Pages
    {
        [FieldOffset(0)]
        public uint Free;

        /// <summary>That somebody said may be taken away.</summary>
        [FieldOffset(88)]
        public uint Purgeable;

        [FieldOffset(92)]
        public uint ReadAhead;

        [FieldOffset(136)]
        public uint OfFiles;
    }
}
