// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>A queue of work that runs in order and does not wait for the default one.</summary>
internal sealed unsafe class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;

    private readonly CudaContext _context;

    /// <summary>Made once, since passes of a model wait and allocate nothing.</summary>
    private readonly Func<bool> _isDone;

    private nint _handle;

    public CudaStream(CudaContext context)
    {
        _context = context;
        _isDone = IsDone;
        nint handle = 0;
        context.Check(context.Driver.StreamCreateWithPriority(&handle, NonBlocking, 0));
        _handle = handle;
    }

    /// <summary>
    /// Whether the driver keeps what is put here until somebody asks about it: under Windows, where its way to the GPU is the display's. That is so in the
    /// Windows Subsystem for Linux too, whose GPU is this device. The same drivers charge main memory that is page-locked for a GPU to that GPU's memory.
    /// </summary>
    public static bool DriverCollects { get; } = OperatingSystem.IsWindows() || File.Exists("/dev/dxg");

    /// <summary>Whether it does here.</summary>
    public bool Collects { get; init; } = DriverCollects;

    public nint Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaStream));

    /// <summary>Waits until all work is done. The driver's own wait has no end where a GPU has stopped answering.</summary>
    /// <exception cref="GpuLostException">It is not done in time.</exception>
    public void Synchronize() => DriverWait.Until(_context, _isDone, "finished its work");

    /// <summary>Whether all work is done. Also sends off what the driver may still be collecting.</summary>
    public bool IsDone()
    {
        CUResult result = _context.Driver.StreamQuery(Handle);
        if (result == CUResult.ErrorNotReady)
        {
            return false;
        }

        _context.Check(result, nameof(DriverTable.StreamQuery));
        return true;
    }

    /// <summary>Has what was put here begin by itself: where the driver collects launches, a host that computes meanwhile would find them not begun.</summary>
    public void SendOff()
    {
        if (Collects)
        {
            IsDone();
        }
    }

    /// <summary>What is put here from now on runs when the work that an event marks by now is done; the host does not wait.</summary>
    public void Wait(CudaEvent mark) => _context.Check(_context.Driver.StreamWaitEvent(Handle, mark.Handle, 0));

    /// <summary>Copies to the device; the host's memory must be page-locked and stay as it is until the copy has run.</summary>
    public void CopyToDevice(ulong target, void* source, long bytes) =>
        _context.Check(_context.Driver.MemcpyHtoDAsync(target, source, (nuint)bytes, Handle));

    /// <summary>Copies from the device into page-locked memory.</summary>
    public void CopyToHost(void* target, ulong source, long bytes) =>
        _context.Check(_context.Driver.MemcpyDtoHAsync(target, source, (nuint)bytes, Handle));

    /// <summary>Copies within the device.</summary>
    public void Copy(ulong target, ulong source, long bytes) =>
        _context.Check(_context.Driver.MemcpyDtoDAsync(target, source, (nuint)bytes, Handle));

    /// <summary>Sets all bytes to zero.</summary>
    public void Clear(ulong target, long bytes) =>
        _context.Check(_context.Driver.MemsetD8Async(target, 0, (nuint)bytes, Handle));

    public void Dispose()
    {
        if (_handle != 0 && _context.MayRelease)
        {
            _context.Release(_context.Driver.StreamDestroy(_handle));
        }

        _handle = 0;
    }
}
