// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu;

/// <summary>
/// Native memory aligned to a cache line, in huge pages where it is large and the system has them; the only owner of its
/// block. Grows on demand, and then loses its contents.
/// </summary>
internal sealed unsafe class AlignedBuffer<T> : IDisposable
    where T : unmanaged
{
    private const nuint CacheLine = 64;
    private T* _pointer;
    private bool _disposed;

    public AlignedBuffer(long length = 0) => EnsureCapacity(length);

    ~AlignedBuffer() => Free();

    /// <summary>First element; null while the capacity is 0.</summary>
    public T* Pointer => _pointer;

    /// <summary>Elements.</summary>
    public long Capacity { get; private set; }

    /// <summary>Makes room for so many elements and returns the first; contents are lost when it grows.</summary>
    /// <exception cref="InsufficientMemoryException">The system refuses it.</exception>
    public T* EnsureCapacity(long length)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (length > Capacity)
        {
            Free();
            nuint bytes = checked((nuint)length * (nuint)sizeof(T));
            _pointer = (T*)Allocate(bytes);
            HugePages.Advise((byte*)_pointer, bytes);
            FreshMemory.Fill((byte*)_pointer, bytes);
            Capacity = length;
        }

        return _pointer;
    }

    public Span<T> Span(int start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)start + length, Capacity);
        return new Span<T>(_pointer + start, length);
    }

    /// <summary>Gives the block up without freeing it, for somebody who cannot be stopped from writing to it.</summary>
    public void Abandon()
    {
        _pointer = null;
        Capacity = 0;
    }

    public void Dispose()
    {
        _disposed = true;
        Free();
        GC.SuppressFinalize(this);
    }

    private static void* Allocate(nuint bytes)
    {
        try
        {
            return NativeMemory.AlignedAlloc(bytes, bytes >= HugePages.WorthwhileBytes ? HugePages.Bytes : CacheLine);
        }
        catch (OutOfMemoryException e)
        {
            throw RefusedMemory.Of(bytes, "", "KimiModelOptions.ExpertMemory or KvCacheBytes", e);
        }
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
        Capacity = 0;
    }
}
