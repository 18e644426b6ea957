// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Sums of products of bytes for eight rows, whose columns come four at a time.</summary>
internal interface IProducts256
{
    /// <summary>Whether elements of more than 4 bits must meet activations a part at a time (<see cref="ActivationParts"/>).</summary>
    static abstract bool SplitsActivations { get; }

    static abstract Vector256<int> Multiply(Vector256<byte> weights, Vector256<sbyte> x);

    static abstract Vector256<int> Add(Vector256<int> sums, Vector256<byte> weights, Vector256<sbyte> x);

    /// <summary>The sums of a group, a row an element.</summary>
    static abstract Vector256<int> Finish(Vector256<int> sums);
}

/// <summary>
/// Multiply-adds of AVX2, which sum a group's products as int16: eight times two products of at most 15 x 127, which is 30480,
/// or, where elements take all 8 bits and activations come in parts, of 255 x 8, which is 32640.
/// </summary>
internal readonly struct Avx2Products : IProducts256
{
    public static bool SplitsActivations => true;

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
    public static bool SplitsActivations => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Multiply(Vector256<byte> weights, Vector256<sbyte> x) => AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, weights, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> weights, Vector256<sbyte> x) => AvxVnni.MultiplyWideningAndAdd(sums, weights, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Finish(Vector256<int> sums) => sums;
}
