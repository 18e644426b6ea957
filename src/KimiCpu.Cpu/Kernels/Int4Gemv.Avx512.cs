// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Sixteen groups (512 columns) a step: 64 packed bytes (four groups) at a time give 64 even and 64 odd weights, whose
/// products are summed pairwise to int16 (no saturation: at most 7620) and to sixteen int32 lanes, four of each group;
/// four such vectors are transposed and added to one with a lane for each group.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyAvx512(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        var steps = new RowSteps(weight.Columns);
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            Vector512<float> sum = Vector512<float>.Zero;
            for (int s = 0; s < steps.Whole; s++)
            {
                byte* at = data + (s * StepBytes);
                Sse.Prefetch0(at + PrefetchDistance);
                Sse.Prefetch0(at + PrefetchDistance + 64);
                Sse.Prefetch0(at + PrefetchDistance + 128);
                Sse.Prefetch0(at + PrefetchDistance + 192);
                sum = StepAvx512(at, scales + (s * LaneSum.Lanes), x, s, sum);
            }

            if (steps.HasRest)
            {
                steps.CopyRest(data, scales, rest);
                sum = StepAvx512(rest, (ushort*)(rest + StepBytes), x, steps.Whole, sum);
            }

            y[r] = LaneSum.Fold(sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> StepAvx512(byte* data, ushort* scales, QuantizedRow x, int step, Vector512<float> sum)
    {
        int at = step * StepBytes;
        Vector512<int> a = Dot64(data, x, at);
        Vector512<int> b = Dot64(data + 64, x, at + 64);
        Vector512<int> c = Dot64(data + 128, x, at + 128);
        Vector512<int> d = Dot64(data + 192, x, at + 192);
        Vector512<int> ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        Vector512<int> cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
        Vector512<int> dots = (Avx512F.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx512F.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32());
        dots = Avx512F.PermuteVar16x32(dots, Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        int g = step * LaneSum.Lanes;
        dots += Vector512.Load(x.Corrections + g);
        Vector512<float> scale = (Avx512F.ConvertToVector512Int32(Vector256.Load(scales)) << 16).AsSingle() * Vector512.Load(x.Scales + g);
        return sum + (Vector512.ConvertToSingle(dots) * scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Dot64(byte* weights, QuantizedRow x, int at)
    {
        Vector512<byte> mask = Vector512.Create((byte)15);
        Vector512<byte> packed = Vector512.Load(weights);
        Vector512<short> products = Avx512BW.MultiplyAddAdjacent(packed & mask, Vector512.Load(x.Even + at))
            + Avx512BW.MultiplyAddAdjacent((packed.AsUInt16() >> 4).AsByte() & mask, Vector512.Load(x.Odd + at));
        return Avx512BW.MultiplyAddAdjacent(products, Vector512<short>.One);
    }
}
