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
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            sbyte* even = x.Even;
            sbyte* odd = x.Odd;
            int* corrections = x.Corrections;
            float* factors = x.Scales;
            Vector512<float> sum = Vector512<float>.Zero;
            for (int s = 0; s < steps.Whole; s++)
            {
                Prefetch.NextPage(data + Prefetch.PagesAhead, StepBytes);
                Prefetch.NextLine(data + PrefetchDistance);
                Prefetch.NextLine(data + PrefetchDistance + 64);
                Prefetch.NextLine(data + PrefetchDistance + 128);
                Prefetch.NextLine(data + PrefetchDistance + 192);
                Prefetch.NearLine(data + NearDistance);
                Prefetch.NearLine(data + NearDistance + 64);
                Prefetch.NearLine(data + NearDistance + 128);
                Prefetch.NearLine(data + NearDistance + 192);
                sum = StepAvx512(data, scales, even, odd, corrections, factors, sum);
                data += StepBytes;
                scales += LaneSum.Lanes;
                even += StepBytes;
                odd += StepBytes;
                corrections += LaneSum.Lanes;
                factors += LaneSum.Lanes;
            }

            y[r] = steps.HasRest ? FoldRestAvx512(steps, data, scales, even, odd, corrections, factors, sum) : LaneSum.Fold(sum);
        }
    }

    // Apart, so that the loop above has no calls to save its registers from.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float FoldRestAvx512(RowSteps steps, byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, Vector512<float> sum)
    {
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        steps.CopyRest(data, scales, rest);
        return LaneSum.Fold(StepAvx512(rest, (ushort*)(rest + StepBytes), even, odd, corrections, factors, sum));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> StepAvx512(byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, Vector512<float> sum)
    {
        Vector512<int> a = Dot64(data, even, odd);
        Vector512<int> b = Dot64(data + 64, even + 64, odd + 64);
        Vector512<int> c = Dot64(data + 128, even + 128, odd + 128);
        Vector512<int> d = Dot64(data + 192, even + 192, odd + 192);
        Vector512<int> ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        Vector512<int> cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
        Vector512<int> dots = (Avx512F.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx512F.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32());
        dots = Avx512F.PermuteVar16x32(dots, Vector512.Create(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        dots += Vector512.Load(corrections);
        Vector512<float> scale = (Avx512F.ConvertToVector512Int32(Vector256.Load(scales)) << 16).AsSingle() * Vector512.Load(factors);
        return Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dots), scale, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Dot64(byte* weights, sbyte* evens, sbyte* odds)
    {
        Vector512<byte> mask = Vector512.Create((byte)15);
        Vector512<byte> packed = Vector512.Load(weights);
        Vector512<short> products = Avx512BW.MultiplyAddAdjacent(packed & mask, Vector512.Load(evens))
            + Avx512BW.MultiplyAddAdjacent((packed.AsUInt16() >> 4).AsByte() & mask, Vector512.Load(odds));
        return Avx512BW.MultiplyAddAdjacent(products, Vector512<short>.One);
    }
}
