// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>Host memory that stays where it is and that the device reads and writes too; the only owner of it.</summary>
internal sealed unsafe class CudaPageLockedHostMemory<T> : IDisposable
    where T : unmanaged
{
    private const uint Portable = 1;
    private const uint Mapped = 2;

    private readonly CudaContext _context;
    private T* _pointer;

    /// <param name="context">The GPU.</param>
    /// <param name="length">Elements, at least 1. All bytes are zero.</param>
    public CudaPageLockedHostMemory(CudaContext context, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        _context = context;
        Length = length;
        nuint bytes = checked((nuint)length * (nuint)sizeof(T));
        void* pointer = null;
        context.Check(context.Driver.MemHostAlloc(&pointer, bytes, Portable | Mapped));
        _pointer = (T*)pointer;
        System.Runtime.InteropServices.NativeMemory.Clear(pointer, bytes);
        try
        {
            ulong device = 0;
            context.Check(context.Driver.MemHostGetDevicePointer(&device, pointer, 0));
            DevicePointer = device;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Elements.</summary>
    public long Length { get; }

    /// <summary>Where kernels see it.</summary>
    public ulong DevicePointer { get; }

    public T* Pointer => _pointer != null ? _pointer : throw new ObjectDisposedException(nameof(CudaPageLockedHostMemory<T>));

    public Span<T> Span => new(Pointer, checked((int)Length));

    public void Dispose()
    {
        if (_pointer != null && _context.MayRelease)
        {
            _context.Release(_context.Driver.MemFreeHost(_pointer));
        }

        _pointer = null;
    }
}
