// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Eight groups a step: their scales become one vector; then 32 packed bytes (two groups) at a time give 32 even and 32
/// odd weights, whose products with the activations are summed pairwise to int16 (no saturation: at most 7620) and to
/// eight int32 lanes, four of each group. The stored bias of 8 is taken off once, by the groups' activation sums.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyAvx2(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            for (int t = 0; t < tokens; t++)
            {
                y[(t * yStride) + r] = DotAvx2(data, scales, weight.Columns, x.Row(tokenRows[t]));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float DotAvx2(byte* data, ushort* scales, int columns, QuantizedRow row)
    {
        const int Step = 8;
        Vector256<byte> mask = Vector256.Create((byte)15);
        Vector256<short> ones = Vector256<short>.One;
        Vector256<float> even = Vector256<float>.Zero;
        Vector256<float> odd = Vector256<float>.Zero;
        Vector256<float> bias = Vector256<float>.Zero;
        int full = columns / GroupSize;
        int g = 0;
        for (; g + Step <= full; g += Step)
        {
            Vector256<float> scale = (Avx2.ConvertToVector256Int32(Vector128.Load(scales + g)) << 16).AsSingle() * Vector256.Load(row.Scales + g);
            bias = Fma.MultiplyAdd(scale, Vector256.ConvertToSingle(Vector256.Load(row.Sums + g)), bias);
            for (int k = 0; k < Step / 2; k++)
            {
                int at = (g + (2 * k)) * GroupBytes;
                Sse.Prefetch0(data + at + PrefetchDistance);
                Vector256<byte> packed = Vector256.Load(data + at);
                Vector256<byte> high = (packed.AsUInt16() >> 4).AsByte() & mask;
                Vector256<short> products = Avx2.MultiplyAddAdjacent(packed & mask, Vector256.Load(row.Even + at))
                    + Avx2.MultiplyAddAdjacent(high, Vector256.Load(row.Odd + at));
                Vector256<float> dot = Vector256.ConvertToSingle(Avx2.MultiplyAddAdjacent(products, ones));
                Vector256<float> factor = Avx2.PermuteVar8x32(scale, Vector256.Create(0, 0, 0, 0, 1, 1, 1, 1) + Vector256.Create(2 * k));
                if ((k & 1) == 0)
                {
                    even = Fma.MultiplyAdd(dot, factor, even);
                }
                else
                {
                    odd = Fma.MultiplyAdd(dot, factor, odd);
                }
            }
        }

        float total = Vector256.Sum(even + odd) - (Int4Group32.Bias * Vector256.Sum(bias));
        return total + (g < row.Groups ? GroupsFrom(data, scales, g, columns, row) : 0);
    }
}
