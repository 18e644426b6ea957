// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Folds the 16 lanes of a tile's sums in the order of <see cref="Kernels.LaneSum"/>, many rows at once.</summary>
internal static unsafe class TileFold
{
    /// <param name="lanes">(16, tokens, 32).</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fold(float* lanes, int tokens, float* y, long yStride)
    {
        long stride = (long)tokens * WeightTile.Rows;
        for (int t = 0; t < tokens; t++)
        {
            float* l = lanes + (t * WeightTile.Rows);
            float* target = y + (t * yStride);
            if (Vector512.IsHardwareAccelerated)
            {
                for (int r = 0; r < WeightTile.Rows; r += 16)
                {
                    Vector512<float> a = Quad512(l + r, stride) + Quad512(l + r + (2 * stride), stride);
                    Vector512<float> b = Quad512(l + r + stride, stride) + Quad512(l + r + (3 * stride), stride);
                    (a + b).Store(target + r);
                }

                continue;
            }

            if (Vector256.IsHardwareAccelerated)
            {
                for (int r = 0; r < WeightTile.Rows; r += 8)
                {
                    Vector256<float> a = Quad256(l + r, stride) + Quad256(l + r + (2 * stride), stride);
                    Vector256<float> b = Quad256(l + r + stride, stride) + Quad256(l + r + (3 * stride), stride);
                    (a + b).Store(target + r);
                }

                continue;
            }

            for (int r = 0; r < WeightTile.Rows; r += 4)
            {
                Vector128<float> a = Quad128(l + r, stride) + Quad128(l + r + (2 * stride), stride);
                Vector128<float> b = Quad128(l + r + stride, stride) + Quad128(l + r + (3 * stride), stride);
                (a + b).Store(target + r);
            }
        }
    }

    /// <summary>Lanes i, i + 8, i + 4 and i + 12.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Quad512(float* lanes, long stride) =>
        (Vector512.Load(lanes) + Vector512.Load(lanes + (8 * stride))) + (Vector512.Load(lanes + (4 * stride)) + Vector512.Load(lanes + (12 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Quad256(float* lanes, long stride) =>
        (Vector256.Load(lanes) + Vector256.Load(lanes + (8 * stride))) + (Vector256.Load(lanes + (4 * stride)) + Vector256.Load(lanes + (12 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Quad128(float* lanes, long stride) =>
        (Vector128.Load(lanes) + Vector128.Load(lanes + (8 * stride))) + (Vector128.Load(lanes + (4 * stride)) + Vector128.Load(lanes + (12 * stride)));
}
