// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Eight rows, as <see cref="TileLanes512"/>.</summary>
internal readonly unsafe struct TileLanes256 : ITileLanes
{
    public static int Count => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums)
    {
        Vector256<int> dot = Vector256.Create(((int*)(x + (9 * xStride)))[0]);
        if (bits8)
        {
            for (int q = 0; q < 8; q++)
            {
                Vector256<byte> w = Vector256.Load(weights + (4 * row) + (q * WeightTile.VectorBytes));
                Vector256<short> value = Avx2.ConvertToVector256Int16(Vector128.Create(((int*)(x + (q * xStride)))[0]).AsSByte());
                Vector256<int> low = Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(w.GetLower()), value);
                Vector256<int> high = Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(w.GetUpper()), value);

                // Horizontal addition works in 128-bit halves; the quarters are put back in order.
                dot += Avx2.Permute4x64(Avx2.HorizontalAdd(low, high).AsInt64(), 0b11_01_10_00).AsInt32();
            }
        }
        else
        {
            Vector256<short> products = Vector256<short>.Zero;
            for (int q = 0; q < 8; q++)
            {
                Vector256<byte> w = Vector256.Load(weights + (4 * row) + (q * WeightTile.VectorBytes));
                products += Avx2.MultiplyAddAdjacent(w, Vector256.Create(((int*)(x + (q * xStride)))[0]).AsSByte());
            }

            dot += Avx2.MultiplyAddAdjacent(products, Vector256<short>.One);
        }

        Add(dot, scales + row, x + (8 * xStride), sums);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Add(Vector256<int> dot, ushort* scales, byte* scale, float* sums)
    {
        Vector256<float> factor = (Avx2.ConvertToVector256Int32(Vector128.Load(scales)) << 16).AsSingle() * ((float*)scale)[0];
        (Vector256.Load(sums) + (Vector256.ConvertToSingle(dot) * factor)).Store(sums);
    }
}

/// <summary>Eight rows with the dot product instruction, which takes elements of all 8 bits.</summary>
internal readonly unsafe struct TileLanesVnni256 : ITileLanes
{
    public static int Count => 8;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums)
    {
        Vector256<int> dot = Vector256.Create(((int*)(x + (9 * xStride)))[0]);
        for (int q = 0; q < 8; q++)
        {
            Vector256<byte> w = Vector256.Load(weights + (4 * row) + (q * WeightTile.VectorBytes));
            dot = AvxVnni.MultiplyWideningAndAdd(dot, w, Vector256.Create(((int*)(x + (q * xStride)))[0]).AsSByte());
        }

        TileLanes256.Add(dot, scales + row, x + (8 * xStride), sums);
    }
}
