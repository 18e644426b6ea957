// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Driver;

/// <summary>An allocation on the device; the only owner of its memory.</summary>
internal sealed unsafe class CudaDeviceVariable<T> : IDisposable
    where T : unmanaged
{
    private readonly CudaContext _context;
    private ulong _pointer;

    /// <param name="context">The GPU.</param>
    /// <param name="length">Elements, at least 1.</param>
    public CudaDeviceVariable(CudaContext context, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        _context = context;
        Length = length;
        ulong pointer = 0;
        context.Check(context.Driver.MemAlloc(&pointer, checked((nuint)length * (nuint)sizeof(T))));
        _pointer = pointer;
    }

    /// <summary>Elements.</summary>
    public long Length { get; }

    /// <summary>Address on the device, 256-byte aligned.</summary>
    public ulong DevicePointer => _pointer != 0 ? _pointer : throw new ObjectDisposedException(nameof(CudaDeviceVariable<T>));

    public void Dispose()
    {
        if (_pointer != 0 && _context.MayRelease)
        {
            _context.Release(_context.Driver.MemFree(_pointer));
        }

        _pointer = 0;
    }
}
