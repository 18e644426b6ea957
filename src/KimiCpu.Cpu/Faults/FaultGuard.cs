// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Faults;

/// <summary>
/// Keeps the process alive when a mapped file is cut or its drive fails: the kernel then sends SIGBUS to whoever touches the
/// page. A watched page reads as zeros instead, and the watch says so, for the caller to throw. On Linux on x64, where
/// executable memory is to be had; installed once a process, before the first watch, and never taken out.
/// </summary>
internal sealed unsafe partial class FaultGuard : IDisposable
{
    private const int SignalBus = 7;
    private const int SignalInfo = 4;
    private const int OnAlternateStack = 0x08000000;

    /// <summary>Handler, mask of 1024 signals, flags, restorer.</summary>
    private const int ActionBytes = 152;
    private const int FlagsAt = 136;

    private static readonly Lazy<WatchTable?> s_installed = new(Install);

    private readonly WatchTable _table;
    private readonly int _entry;
    private int _disposed;

    private FaultGuard(WatchTable table, int entry)
    {
        _table = table;
        _entry = entry;
    }

    /// <summary>Bytes from the start of the range to the last fault; null where nothing has failed.</summary>
    public long? FaultOffset => _table.FaultOf(_entry);

    /// <summary>Watches a mapping until disposed, which must be before it is unmapped; null where that is not possible.</summary>
    public static FaultGuard? Watch(byte* start, long length) =>
        s_installed.Value is { } table && table.Add(start, length) is >= 0 and int entry ? new FaultGuard(table, entry) : null;

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _table.Remove(_entry);
        }
    }

    private static WatchTable? Install()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return null;
        }

        byte* old = stackalloc byte[ActionBytes];
        byte* action = stackalloc byte[ActionBytes];
        new Span<byte>(action, ActionBytes).Clear();
        try
        {
            if (SetAction(SignalBus, null, old) != 0)
            {
                return null;
            }

            var table = new WatchTable();
            using var stream = new MemoryStream();
            var assembler = new Assembler(64);
            FaultHandlerCode.Write(assembler, (ulong)table.Address, *(ulong*)old);
            assembler.Assemble(new StreamCodeWriter(stream), 0);
            if (ExecutableMemory.TryCreate(stream.ToArray()) is not { } code)
            {
                return null;
            }

            *(nint*)action = (nint)code.Pointer;
            *(int*)(action + FlagsAt) = SignalInfo | OnAlternateStack;
            if (SetAction(SignalBus, action, null) != 0)
            {
                code.Dispose();
                return null;
            }

            // The system jumps there as long as the process lives, also after an assembly load context with this class is gone.
            code.SetHandleAsInvalid();
            return table;
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException)
        {
            return null;
        }
    }

    [LibraryImport("libc", EntryPoint = "sigaction")]
    private static partial int SetAction(int signal, byte* action, byte* old);
}
