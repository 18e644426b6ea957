// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Sums of products of bytes for eight rows, whose columns come four at a time.</summary>
internal interface IProducts256
{
    /// <summary>Whether elements of more than 4 bits must be multiplied a nibble at a time.</summary>
    static abstract bool SplitsBytes { get; }

    static abstract Vector256<int> Multiply(Vector256<byte> weights, Vector256<sbyte> x);

    static abstract Vector256<int> Add(Vector256<int> sums, Vector256<byte> weights, Vector256<sbyte> x);

    /// <summary>The sums of a group, a row an element.</summary>
    static abstract Vector256<int> Finish(Vector256<int> sums);
}

/// <summary>
/// Multiply-adds of AVX2. While elements are at most 15, a group's products are summed as int16: at most eight times two
/// products of 15 x 127, which is 30480.
/// </summary>
internal readonly struct Avx2Products : IProducts256
{
    public static bool SplitsBytes => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Multiply(Vector256<byte> weights, Vector256<sbyte> x) => Avx2.MultiplyAddAdjacent(weights, x).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> weights, Vector256<sbyte> x) =>
        (sums.AsInt16() + Avx2.MultiplyAddAdjacent(weights, x)).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Finish(Vector256<int> sums) => Avx2.MultiplyAddAdjacent(sums.AsInt16(), Vector256<short>.One);
}

/// <summary>The dot product instruction, which takes elements of all 8 bits and sums in int32.</summary>
internal readonly struct VnniProducts : IProducts256
{
    public static bool SplitsBytes => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Multiply(Vector256<byte> weights, Vector256<sbyte> x) => AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, weights, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> weights, Vector256<sbyte> x) => AvxVnni.MultiplyWideningAndAdd(sums, weights, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Finish(Vector256<int> sums) => sums;
}

/// <summary>What of 32 weight bytes meets the activations.</summary>
internal unsafe interface IWeightBytes
{
    static abstract Vector256<byte> Load(byte* source);
}

internal readonly unsafe struct WholeBytes : IWeightBytes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load(byte* source) => Vector256.Load(source);
}

internal readonly unsafe struct LowNibbles : IWeightBytes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load(byte* source) => Vector256.Load(source) & Vector256.Create((byte)15);
}

internal readonly unsafe struct HighNibbles : IWeightBytes
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load(byte* source) => (Vector256.Load((ushort*)source) >> 4).AsByte() & Vector256.Create((byte)15);
}
