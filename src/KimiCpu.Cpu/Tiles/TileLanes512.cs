// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Sixteen rows. Elements up to 15 are summed as int16 over the whole group (16 products of at most 15 x 127, which is
/// 30480); larger ones are widened first.
/// </summary>
internal readonly unsafe struct TileLanes512 : ITileLanes
{
    public static int Count => 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums)
    {
        Vector512<int> dot = Vector512.Create(((int*)(x + (9 * xStride)))[0]);
        if (bits8)
        {
            for (int q = 0; q < 8; q++)
            {
                Vector512<byte> w = Vector512.Load(weights + (q * WeightTile.VectorBytes));
                Vector256<short> four = Avx2.ConvertToVector256Int16(Vector128.Create(((int*)(x + (q * xStride)))[0]).AsSByte());
                Vector512<short> value = Vector512.Create(four, four);
                dot += Pairs(Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(w.GetLower()), value), Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(w.GetUpper()), value));
            }
        }
        else
        {
            Vector512<short> products = Vector512<short>.Zero;
            for (int q = 0; q < 8; q++)
            {
                Vector512<byte> w = Vector512.Load(weights + (q * WeightTile.VectorBytes));
                products += Avx512BW.MultiplyAddAdjacent(w, Vector512.Create(((int*)(x + (q * xStride)))[0]).AsSByte());
            }

            dot += Avx512BW.MultiplyAddAdjacent(products, Vector512<short>.One);
        }

        Vector512<float> scale = (Avx512F.ConvertToVector512Int32(Vector256.Load(scales + row)) << 16).AsSingle() * ((float*)(x + (8 * xStride)))[0];
        (Vector512.Load(sums) + (Vector512.ConvertToSingle(dot) * scale)).Store(sums);
    }

    /// <summary>Sums of neighbours: of the sixteen of <paramref name="low"/>, then of the sixteen of <paramref name="high"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Pairs(Vector512<int> low, Vector512<int> high) =>
        Avx512F.PermuteVar16x32x2(low, Vector512.Create(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), high)
        + Avx512F.PermuteVar16x32x2(low, Vector512.Create(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), high);
}
