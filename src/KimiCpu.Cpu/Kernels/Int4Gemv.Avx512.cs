// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Sixteen groups (512 columns) a step: their scales become one vector; then 64 packed bytes (four groups) at a time give
/// 64 even and 64 odd weights, whose products are summed pairwise to int16 (no saturation: at most 7620) and to sixteen
/// int32 lanes, four of each group. The stored bias of 8 is taken off once, by the groups' activation sums.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    /// <summary>Bytes ahead of use that weights are asked for; beyond it the hardware's own prefetch has caught up.</summary>
    private const int PrefetchDistance = 4096;

    private const int Avx512Step = 16;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyAvx512(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            int t = 0;
            for (; t + 4 <= tokens; t += 4)
            {
                DotsAvx512(data, scales, weight.Columns, x, tokenRows + t, y + (t * yStride) + r, yStride);
            }

            for (; t < tokens; t++)
            {
                y[(t * yStride) + r] = DotAvx512(data, scales, weight.Columns, x.Row(tokenRows[t]));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float DotAvx512(byte* data, ushort* scales, int columns, QuantizedRow row)
    {
        Vector512<float> even = Vector512<float>.Zero;
        Vector512<float> odd = Vector512<float>.Zero;
        Vector512<float> bias = Vector512<float>.Zero;
        int full = columns / GroupSize;
        int g = 0;
        for (; g + Avx512Step <= full; g += Avx512Step)
        {
            Vector512<float> scale = LoadScales(scales + g) * Vector512.Load(row.Scales + g);
            bias = Avx512F.FusedMultiplyAdd(scale, Vector512.ConvertToSingle(Vector512.Load(row.Sums + g)), bias);
            int at = g * GroupBytes;
            Sse.Prefetch0(data + at + PrefetchDistance);
            Sse.Prefetch0(data + at + PrefetchDistance + 64);
            Sse.Prefetch0(data + at + PrefetchDistance + 128);
            Sse.Prefetch0(data + at + PrefetchDistance + 192);
            even = Avx512F.FusedMultiplyAdd(Dot64(data + at, row, at), Spread(scale, 0), even);
            odd = Avx512F.FusedMultiplyAdd(Dot64(data + at + 64, row, at + 64), Spread(scale, 4), odd);
            even = Avx512F.FusedMultiplyAdd(Dot64(data + at + 128, row, at + 128), Spread(scale, 8), even);
            odd = Avx512F.FusedMultiplyAdd(Dot64(data + at + 192, row, at + 192), Spread(scale, 12), odd);
        }

        float total = Vector512.Sum(even + odd) - (Int4Group32.Bias * Vector512.Sum(bias));
        return total + (g < row.Groups ? GroupsFrom(data, scales, g, columns, row) : 0);
    }

    /// <summary>Four tokens, each summed in exactly the order of <see cref="DotAvx512"/>; weights are unpacked once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void DotsAvx512(byte* data, ushort* scales, int columns, QuantizedRows x, int* tokenRows, float* y, long yStride)
    {
        QuantizedRow row0 = x.Row(tokenRows[0]), row1 = x.Row(tokenRows[1]), row2 = x.Row(tokenRows[2]), row3 = x.Row(tokenRows[3]);
        Vector512<float> even0 = default, even1 = default, even2 = default, even3 = default;
        Vector512<float> odd0 = default, odd1 = default, odd2 = default, odd3 = default;
        Vector512<float> bias0 = default, bias1 = default, bias2 = default, bias3 = default;
        Vector512<byte> mask = Vector512.Create((byte)15);
        int full = columns / GroupSize;
        int g = 0;
        for (; g + Avx512Step <= full; g += Avx512Step)
        {
            Vector512<float> weightScale = LoadScales(scales + g);
            Vector512<float> scale0 = weightScale * Vector512.Load(row0.Scales + g);
            Vector512<float> scale1 = weightScale * Vector512.Load(row1.Scales + g);
            Vector512<float> scale2 = weightScale * Vector512.Load(row2.Scales + g);
            Vector512<float> scale3 = weightScale * Vector512.Load(row3.Scales + g);
            bias0 = Avx512F.FusedMultiplyAdd(scale0, Vector512.ConvertToSingle(Vector512.Load(row0.Sums + g)), bias0);
            bias1 = Avx512F.FusedMultiplyAdd(scale1, Vector512.ConvertToSingle(Vector512.Load(row1.Sums + g)), bias1);
            bias2 = Avx512F.FusedMultiplyAdd(scale2, Vector512.ConvertToSingle(Vector512.Load(row2.Sums + g)), bias2);
            bias3 = Avx512F.FusedMultiplyAdd(scale3, Vector512.ConvertToSingle(Vector512.Load(row3.Sums + g)), bias3);
            for (int k = 0; k < 4; k += 2)
            {
                int at = (g * GroupBytes) + (64 * k);
                Vector512<byte> packed = Vector512.Load(data + at);
                Vector512<byte> low = packed & mask;
                Vector512<byte> high = (packed.AsUInt16() >> 4).AsByte() & mask;
                even0 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row0, at), Spread(scale0, 4 * k), even0);
                even1 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row1, at), Spread(scale1, 4 * k), even1);
                even2 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row2, at), Spread(scale2, 4 * k), even2);
                even3 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row3, at), Spread(scale3, 4 * k), even3);
                at += 64;
                packed = Vector512.Load(data + at);
                low = packed & mask;
                high = (packed.AsUInt16() >> 4).AsByte() & mask;
                odd0 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row0, at), Spread(scale0, (4 * k) + 4), odd0);
                odd1 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row1, at), Spread(scale1, (4 * k) + 4), odd1);
                odd2 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row2, at), Spread(scale2, (4 * k) + 4), odd2);
                odd3 = Avx512F.FusedMultiplyAdd(Dot64(low, high, row3, at), Spread(scale3, (4 * k) + 4), odd3);
            }
        }

        bool rest = g < row0.Groups;
        y[0] = Total(even0, odd0, bias0) + (rest ? GroupsFrom(data, scales, g, columns, row0) : 0);
        y[yStride] = Total(even1, odd1, bias1) + (rest ? GroupsFrom(data, scales, g, columns, row1) : 0);
        y[2 * yStride] = Total(even2, odd2, bias2) + (rest ? GroupsFrom(data, scales, g, columns, row2) : 0);
        y[3 * yStride] = Total(even3, odd3, bias3) + (rest ? GroupsFrom(data, scales, g, columns, row3) : 0);
    }

    private static float Total(Vector512<float> even, Vector512<float> odd, Vector512<float> bias) =>
        Vector512.Sum(even + odd) - (Int4Group32.Bias * Vector512.Sum(bias));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> LoadScales(ushort* scales) => (Avx512F.ConvertToVector512Int32(Vector256.Load(scales)) << 16).AsSingle();

    /// <summary>The scales of four groups from <paramref name="first"/> on, each in four lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Spread(Vector512<float> scale, int first) =>
        Avx512F.PermuteVar16x32(scale, Vector512.Create(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3) + Vector512.Create(first));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Dot64(byte* weights, QuantizedRow row, int at)
    {
        Vector512<byte> mask = Vector512.Create((byte)15);
        Vector512<byte> packed = Vector512.Load(weights);
        return Dot64(packed & mask, (packed.AsUInt16() >> 4).AsByte() & mask, row, at);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Dot64(Vector512<byte> low, Vector512<byte> high, QuantizedRow row, int at)
    {
        Vector512<short> products = Avx512BW.MultiplyAddAdjacent(low, Vector512.Load(row.Even + at))
            + Avx512BW.MultiplyAddAdjacent(high, Vector512.Load(row.Odd + at));
        return Vector512.ConvertToSingle(Avx512BW.MultiplyAddAdjacent(products, Vector512<short>.One));
    }
}
