// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Pages with machine code; the only owner of their mapping. Written first, then made executable and read-only: no page
/// is ever writable and executable at once.
/// </summary>
internal sealed unsafe partial class ExecutableMemory : SafeHandle
{
    private const int ReadWrite = 3;
    private const int ReadExecute = 5;
    private const int CommitReserve = 0x3000;
    private const int Release = 0x8000;
    private const int PageReadWrite = 4;
    private const int PageExecuteRead = 0x20;
    private readonly nuint _length;

    private ExecutableMemory(nint address, nuint length)
        : base(0, ownsHandle: true)
    {
        handle = address;
        _length = length;
    }

    public override bool IsInvalid => handle is 0 or -1;

    public byte* Pointer => (byte*)handle;

    /// <summary>Maps the code; null where the system refuses executable memory.</summary>
    public static ExecutableMemory? TryCreate(ReadOnlySpan<byte> code)
    {
        nuint length = (nuint)(code.Length + Environment.SystemPageSize - 1) / (nuint)Environment.SystemPageSize * (nuint)Environment.SystemPageSize;
        try
        {
            bool windows = OperatingSystem.IsWindows();
            int privateAnonymous = OperatingSystem.IsLinux() ? 0x22 : 0x1002;
            nint address = windows ? VirtualAlloc(0, length, CommitReserve, PageReadWrite) : MemoryMap(0, length, ReadWrite, privateAnonymous, -1, 0);
            var memory = new ExecutableMemory(address, length);
            if (memory.IsInvalid)
            {
                memory.SetHandleAsInvalid();
                return null;
            }

            code.CopyTo(new Span<byte>(memory.Pointer, code.Length));
            bool executable = windows
                ? VirtualProtect(address, length, PageExecuteRead, out _) && FlushInstructionCache(GetCurrentProcess(), address, length)
                : MemoryProtect(address, length, ReadExecute) == 0;
            if (executable)
            {
                return memory;
            }

            memory.Dispose();
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            // A system without these calls has no generated code.
        }

        return null;
    }

    protected override bool ReleaseHandle() => OperatingSystem.IsWindows() ? VirtualFree(handle, 0, Release) : MemoryUnmap(handle, _length) == 0;

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint MemoryMap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int MemoryProtect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int MemoryUnmap(nint address, nuint length);

    [LibraryImport("kernel32")]
    private static partial nint VirtualAlloc(nint address, nuint length, int type, int protection);

    [LibraryImport("kernel32")]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool VirtualProtect(nint address, nuint length, int protection, out int old);

    [LibraryImport("kernel32")]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool VirtualFree(nint address, nuint length, int type);

    [LibraryImport("kernel32")]
    private static partial nint GetCurrentProcess();

    [LibraryImport("kernel32")]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool FlushInstructionCache(nint process, nint address, nuint length);
}
