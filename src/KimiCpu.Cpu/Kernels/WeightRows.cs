// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>How weights of one format become floats, a vector or an element at a time.</summary>
internal unsafe interface IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    static abstract TLanes Load(byte* row, int column);

    static abstract float Element(byte* row, int column);

    /// <summary>Asks for the bytes that lie so far behind a column; prefetching past a mapping does not fault.</summary>
    static abstract void Prefetch(byte* row, int column, int distance);
}

internal readonly unsafe struct BFloat16Row<TLanes> : IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load(byte* row, int column) => TLanes.LoadBFloat16((ushort*)row + column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Element(byte* row, int column) => BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(row + (2L * column)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* row, int column, int distance)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0(row + (2L * column) + distance);
        }
    }
}

internal readonly unsafe struct Float32Row<TLanes> : IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load(byte* row, int column) => TLanes.Load((float*)row + column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Element(byte* row, int column) => Unsafe.ReadUnaligned<float>(row + (4L * column));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* row, int column, int distance)
    {
    }
}
