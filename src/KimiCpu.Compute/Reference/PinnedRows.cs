// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Compute.Reference;

/// <summary>Native memory behind the pointers of <see cref="RoutedRows"/>; the only owner of its block.</summary>
internal sealed unsafe class PinnedRows : IDisposable
{
    private void* _block;

    /// <summary>Valid until the next <see cref="Rent{T}"/>.</summary>
    public void* Pointer => _block;

    public Span<T> Rent<T>(int count)
        where T : unmanaged
    {
        _block = NativeMemory.Realloc(_block, (nuint)Math.Max(1, count) * (nuint)sizeof(T));
        return new Span<T>(_block, count);
    }

    public void Dispose()
    {
        NativeMemory.Free(_block);
        _block = null;
    }
}
