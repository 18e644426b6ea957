// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>A mark in a stream that the host can wait for.</summary>
internal sealed unsafe class CudaEvent : IDisposable
{
    private const uint DisableTiming = 2;

    private readonly CudaContext _context;

    /// <summary>Made once, since passes of a model wait and allocate nothing.</summary>
    private readonly Func<bool> _isDone;

    private nint _handle;

    /// <param name="context">The GPU.</param>
    /// <param name="timed">Whether it notes when it was reached, which costs the stream a little.</param>
    public CudaEvent(CudaContext context, bool timed = false)
    {
        _context = context;
        _isDone = IsDone;
        nint handle = 0;
        context.Check(context.Driver.EventCreate(&handle, timed ? 0 : DisableTiming));
        _handle = handle;
    }

    public nint Handle => _handle != 0 ? _handle : throw new ObjectDisposedException(nameof(CudaEvent));

    /// <summary>Marks the work that is in the stream by now.</summary>
    public void Record(CudaStream stream) => _context.Check(_context.Driver.EventRecord(Handle, stream.Handle));

    /// <summary>Waits until the marked work is done; returns at once where nothing was marked.</summary>
    /// <exception cref="GpuLostException">It is not done in time.</exception>
    public void Synchronize() => DriverWait.Until(_context, _isDone, "done what a copy waits for");

    /// <summary>The GPU's seconds from another event to this one; both timed, recorded and reached.</summary>
    public double SecondsSince(CudaEvent start)
    {
        float milliseconds = 0;
        _context.Check(_context.Driver.EventElapsedTime(&milliseconds, start.Handle, Handle));
        return milliseconds / 1e3;
    }

    public void Dispose()
    {
        if (_handle != 0 && _context.MayRelease)
        {
            _context.Release(_context.Driver.EventDestroy(_handle));
        }

        _handle = 0;
    }

    private bool IsDone()
    {
        CUResult result = _context.Driver.EventQuery(Handle);
        if (result == CUResult.ErrorNotReady)
        {
            return false;
        }

        _context.Check(result, nameof(DriverTable.EventQuery));
        return true;
    }
}
