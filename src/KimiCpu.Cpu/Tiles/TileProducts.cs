// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>What a <see cref="WideTileKernel{TVector, TProducts}"/> does with vectors of one width; rows side by side, of each four columns.</summary>
/// <typeparam name="TVector">As many int32 as rows.</typeparam>
internal unsafe interface ITileProducts<TVector>
    where TVector : unmanaged
{
    /// <summary>Rows of a vector: 8 or 16.</summary>
    static abstract int Rows { get; }

    /// <summary>Bytes from a vector of weights to that of the next rows: in the same half, or in the other one.</summary>
    static abstract int SecondAt { get; }

    /// <summary>Whether elements of more than 4 bits must meet activations a part at a time (<see cref="ActivationParts"/>).</summary>
    static abstract bool SplitsActivations { get; }

    /// <summary>Products of the first four columns: of two vectors of rows with a token's four values.</summary>
    static abstract void Multiply(TVector first, TVector second, int* x, out TVector a, out TVector b);

    /// <summary>Adds those of four more columns.</summary>
    static abstract void Add(TVector first, TVector second, int* x, ref TVector a, ref TVector b);

    /// <summary>The sums of a group, a row an element.</summary>
    static abstract TVector Finish(TVector sums);

    /// <summary>What both parts of an activation give together, of finished sums.</summary>
    static abstract TVector Both(TVector low, TVector high);

    /// <summary>bfloat16 scales as single precision.</summary>
    static abstract TVector Scales(ushort* scales);

    /// <summary>sums += (dots + correction) * (scales * scale).</summary>
    static abstract void Accumulate(TVector dots, TVector scales, int* correction, float* scale, float* sums);
}

/// <summary>
/// Multiply-adds of AVX2, which sum a group's products as int16: eight times two products of at most 15 x 127, which is 30480,
/// or, where elements take all 8 bits and activations come in parts, of 255 x 8, which is 32640.
/// </summary>
internal readonly unsafe struct Avx2Products : ITileProducts<Vector256<int>>
{
    public static int Rows => Vector256<int>.Count;

    public static int SecondAt => Vector256<byte>.Count;

    public static bool SplitsActivations => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(Vector256<int> first, Vector256<int> second, int* x, out Vector256<int> a, out Vector256<int> b)
    {
        Vector256<int> value = Avx2.BroadcastScalarToVector256(x);
        a = Avx2.MultiplyAddAdjacent(first.AsByte(), value.AsSByte()).AsInt32();
        b = Avx2.MultiplyAddAdjacent(second.AsByte(), value.AsSByte()).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(Vector256<int> first, Vector256<int> second, int* x, ref Vector256<int> a, ref Vector256<int> b)
    {
        Vector256<int> value = Avx2.BroadcastScalarToVector256(x);
        a = (a.AsInt16() + Avx2.MultiplyAddAdjacent(first.AsByte(), value.AsSByte())).AsInt32();
        b = (b.AsInt16() + Avx2.MultiplyAddAdjacent(second.AsByte(), value.AsSByte())).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Finish(Vector256<int> sums) => Avx2.MultiplyAddAdjacent(sums.AsInt16(), Vector256<short>.One);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Both(Vector256<int> low, Vector256<int> high) => low + (high << ActivationParts.HighShift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Scales(ushort* scales) => Avx2.ConvertToVector256Int32(scales) << 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(Vector256<int> dots, Vector256<int> scales, int* correction, float* scale, float* sums) =>
        Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(dots + Avx2.BroadcastScalarToVector256(correction)), scales.AsSingle() * Avx.BroadcastScalarToVector256(scale), Vector256.Load(sums)).Store(sums);
}

/// <summary>The dot product instruction, which takes elements of all 8 bits and sums in int32.</summary>
internal readonly unsafe struct VnniProducts : ITileProducts<Vector256<int>>
{
    public static int Rows => Avx2Products.Rows;

    public static int SecondAt => Avx2Products.SecondAt;

    public static bool SplitsActivations => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(Vector256<int> first, Vector256<int> second, int* x, out Vector256<int> a, out Vector256<int> b)
    {
        Vector256<int> value = Avx2.BroadcastScalarToVector256(x);
        a = AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, first.AsByte(), value.AsSByte());
        b = AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, second.AsByte(), value.AsSByte());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(Vector256<int> first, Vector256<int> second, int* x, ref Vector256<int> a, ref Vector256<int> b)
    {
        Vector256<int> value = Avx2.BroadcastScalarToVector256(x);
        a = AvxVnni.MultiplyWideningAndAdd(a, first.AsByte(), value.AsSByte());
        b = AvxVnni.MultiplyWideningAndAdd(b, second.AsByte(), value.AsSByte());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Finish(Vector256<int> sums) => sums;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Both(Vector256<int> low, Vector256<int> high) => Avx2Products.Both(low, high);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Scales(ushort* scales) => Avx2Products.Scales(scales);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(Vector256<int> dots, Vector256<int> scales, int* correction, float* scale, float* sums) =>
        Avx2Products.Accumulate(dots, scales, correction, scale, sums);
}

/// <summary><see cref="Avx2Products"/> with vectors of 512 bits.</summary>
internal readonly unsafe struct Avx512Products : ITileProducts<Vector512<int>>
{
    public static int Rows => Vector512<int>.Count;

    public static int SecondAt => WeightTile.HalfBytes;

    public static bool SplitsActivations => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Multiply(Vector512<int> first, Vector512<int> second, int* x, out Vector512<int> a, out Vector512<int> b)
    {
        Vector512<int> value = Vector512.Create(*x);
        a = Avx512BW.MultiplyAddAdjacent(first.AsByte(), value.AsSByte()).AsInt32();
        b = Avx512BW.MultiplyAddAdjacent(second.AsByte(), value.AsSByte()).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Add(Vector512<int> first, Vector512<int> second, int* x, ref Vector512<int> a, ref Vector512<int> b)
    {
        Vector512<int> value = Vector512.Create(*x);
        a = (a.AsInt16() + Avx512BW.MultiplyAddAdjacent(first.AsByte(), value.AsSByte())).AsInt32();
        b = (b.AsInt16() + Avx512BW.MultiplyAddAdjacent(second.AsByte(), value.AsSByte())).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Finish(Vector512<int> sums) => Avx512BW.MultiplyAddAdjacent(sums.AsInt16(), Vector512<short>.One);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Both(Vector512<int> low, Vector512<int> high) => low + (high << ActivationParts.HighShift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Scales(ushort* scales) => Avx512F.ConvertToVector512Int32(Vector256.Load(scales)) << 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(Vector512<int> dots, Vector512<int> scales, int* correction, float* scale, float* sums) =>
        Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dots + Vector512.Create(*correction)), scales.AsSingle() * Vector512.Create(*scale), Vector512.Load(sums)).Store(sums);
}
