// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// FP8 with AVX2, whose 16 registers hold too few rows to share the bringing into order of activations: it is done once for all
/// rows of a block. Written without <see cref="Lanes256"/>, through which the compiler runs out of registers.
/// </summary>
internal static unsafe partial class FloatGemv
{
    /// <summary>Activations times their blocks' scales and 2^100, in the order of <see cref="Arrangement"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScaleArranged(float* x, byte* scales, int vectors, int block, float* target)
    {
        int width = Lanes256.Count;
        for (int start = 0; start < vectors; start += block)
        {
            Lanes256 scale = Lanes256.Broadcast(Unsafe.ReadUnaligned<float>(scales + (4L * (start / block))) * TwoTo100);
            int end = Math.Min(start + block, vectors);
            for (int c = start; c < end; c += 4 * width)
            {
                Arrangement.Quad(x + c, out Lanes256 first, out Lanes256 second, out Lanes256 third, out Lanes256 fourth);
                Lanes256.Store(Lanes256.Multiply(first, scale), target + c);
                Lanes256.Store(Lanes256.Multiply(second, scale), target + c + width);
                Lanes256.Store(Lanes256.Multiply(third, scale), target + c + (2 * width));
                Lanes256.Store(Lanes256.Multiply(fourth, scale), target + c + (3 * width));
            }
        }
    }

    /// <summary>As <see cref="TryTwoRows{TLanes}"/>, from activations that <see cref="ScaleArranged"/> has prepared.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool TryTwoRowsAvx2(byte* data, long rowBytes, int vectors, float* x, float* y)
    {
        Vector256<byte> largest = Vector256<byte>.Zero;
        Vector256<float> even0 = Vector256<float>.Zero, odd0 = Vector256<float>.Zero;
        Vector256<float> even1 = Vector256<float>.Zero, odd1 = Vector256<float>.Zero;
        byte* next = data + (2 * rowBytes);
        float* end = x + vectors;
        for (; x < end; x += 32, data += 32, next += 64)
        {
            Vector256<float> x0 = Vector256.Load(x), x1 = Vector256.Load(x + 8), x2 = Vector256.Load(x + 16), x3 = Vector256.Load(x + 24);
            Prefetch.Line(next);
            Prefetch.NearLine(data + NearDistance);
            Vector256<byte> bits = Vector256.Load(data);
            largest = Avx2.Max(largest, bits | Vector256.Create((byte)0x80));
            Vector256<uint> halves = EvenHalves(bits);
            even0 = Fma.MultiplyAdd((halves << 16).AsSingle(), x0, even0);
            even0 = Fma.MultiplyAdd(UpperHalves(halves), x2, even0);
            halves = OddHalves(bits);
            odd0 = Fma.MultiplyAdd((halves << 16).AsSingle(), x1, odd0);
            odd0 = Fma.MultiplyAdd(UpperHalves(halves), x3, odd0);
            Prefetch.NearLine(data + rowBytes + NearDistance);
            bits = Vector256.Load(data + rowBytes);
            largest = Avx2.Max(largest, bits | Vector256.Create((byte)0x80));
            halves = EvenHalves(bits);
            even1 = Fma.MultiplyAdd((halves << 16).AsSingle(), x0, even1);
            even1 = Fma.MultiplyAdd(UpperHalves(halves), x2, even1);
            halves = OddHalves(bits);
            odd1 = Fma.MultiplyAdd((halves << 16).AsSingle(), x1, odd1);
            odd1 = Fma.MultiplyAdd(UpperHalves(halves), x3, odd1);
        }

        y[0] = Lanes256.Sum(even0 + odd0) * TwoTo20;
        y[1] = Lanes256.Sum(even1 + odd1) * TwoTo20;
        return float.IsFinite(y[0]) && float.IsFinite(y[1]) && !Vector256.EqualsAny(largest, Vector256<byte>.AllBitsSet);
    }

    /// <summary>As <see cref="Lanes256.EvenFloat8"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> EvenHalves(Vector256<byte> bits) =>
        (((bits.AsInt16() << 8) >> 4).AsUInt16() & Vector256.Create((ushort)0x87F0)).AsUInt32();

    /// <summary>As <see cref="Lanes256.OddFloat8"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> OddHalves(Vector256<byte> bits) => ((bits.AsInt16() >> 4).AsUInt16() & Vector256.Create((ushort)0x87F0)).AsUInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> UpperHalves(Vector256<uint> halves) => (halves & Vector256.Create(0xFFFF0000u)).AsSingle();
}
