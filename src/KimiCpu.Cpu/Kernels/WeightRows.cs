// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>How weights of one format become floats, a vector or an element at a time.</summary>
internal unsafe interface IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    static abstract TLanes Load(byte* row, int column);

    static abstract float Element(byte* row, int column);
}

internal readonly unsafe struct BFloat16Row<TLanes> : IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load(byte* row, int column) => TLanes.LoadBFloat16((ushort*)row + column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Element(byte* row, int column) => BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(row + (2L * column)));
}

internal readonly unsafe struct Float32Row<TLanes> : IWeightRow<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Load(byte* row, int column) => TLanes.Load((float*)row + column);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Element(byte* row, int column) => Unsafe.ReadUnaligned<float>(row + (4L * column));
}
