// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu;

/// <summary>Windows: <c>GlobalMemoryStatusEx</c>, which knows what a job allows the process to commit, too.</summary>
internal static unsafe partial class WindowsMemory
{
    /// <returns>Null where the system does not tell.</returns>
    public static ProcessMemory? Read()
    {
        var status = new Status { Length = (uint)sizeof(Status) };
        try
        {
            return GetStatus(&status) != 0 ? Of(status) : null;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Memory is refused where it can be neither promised nor found; slots are promised whole, and used by and by.</summary>
    public static ProcessMemory Of(in Status status) => new(
        (long)Math.Min(status.UnusedBytes, status.UnpromisedBytes), (long)Math.Min(status.MachineBytes, status.PromisableBytes), null)
    {
        UnusedBytes = (long)status.UnusedBytes,
        UnpromisedBytes = (long)status.UnpromisedBytes,
    };

    [LibraryImport("kernel32", EntryPoint = "GlobalMemoryStatusEx")]
    private static partial int GetStatus(Status* status);

    /// <summary><c>MEMORYSTATUSEX</c>.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 64)]
    internal struct Status
    {
        /// <summary>Of this structure.</summary>
        [FieldOffset(0)]
        public uint Length;

        [FieldOffset(8)]
        public ulong MachineBytes;

        [FieldOffset(16)]
        public ulong UnusedBytes;

        /// <summary>Memory and page file, or what a job allows.</summary>
        [FieldOffset(24)]
        public ulong PromisableBytes;

        [FieldOffset(32)]
        public ulong UnpromisedBytes;
    }
}
