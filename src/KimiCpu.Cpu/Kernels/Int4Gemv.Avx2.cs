// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// As with 512 bits, in halves of eight groups: 32 packed bytes (two groups) at a time, four vectors transposed to one.
/// Where the CPU has AVX-VNNI, its dot product replaces three instructions.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyAvx2(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        var steps = new RowSteps(weight.Columns);
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            Vector256<float> low = Vector256<float>.Zero;
            Vector256<float> high = Vector256<float>.Zero;
            for (int s = 0; s < steps.Whole; s++)
            {
                byte* at = data + (s * StepBytes);
                ushort* scale = scales + (s * LaneSum.Lanes);
                Sse.Prefetch1(at + PrefetchDistance);
                Sse.Prefetch1(at + PrefetchDistance + 64);
                Sse.Prefetch1(at + PrefetchDistance + 128);
                Sse.Prefetch1(at + PrefetchDistance + 192);
                low = HalfStepAvx2(at, scale, x, 2 * s, low);
                high = HalfStepAvx2(at + (StepBytes / 2), scale + (LaneSum.Lanes / 2), x, (2 * s) + 1, high);
            }

            if (steps.HasRest)
            {
                steps.CopyRest(data, scales, rest);
                ushort* scale = (ushort*)(rest + StepBytes);
                low = HalfStepAvx2(rest, scale, x, 2 * steps.Whole, low);
                high = HalfStepAvx2(rest + (StepBytes / 2), scale + (LaneSum.Lanes / 2), x, (2 * steps.Whole) + 1, high);
            }

            y[r] = LaneSum.Fold(low, high);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> HalfStepAvx2(byte* data, ushort* scales, QuantizedRow x, int half, Vector256<float> sum)
    {
        int at = half * (StepBytes / 2);
        Vector256<int> a = Dot32(data, x, at);
        Vector256<int> b = Dot32(data + 32, x, at + 32);
        Vector256<int> c = Dot32(data + 64, x, at + 64);
        Vector256<int> d = Dot32(data + 96, x, at + 96);

        // The four sums of a group are at most 15240 each, and so are two of them 30480: they fit where they are packed.
        Vector256<int> ab = Pairs(Avx2.PackSignedSaturate(a, b));
        Vector256<int> cd = Pairs(Avx2.PackSignedSaturate(c, d));
        Vector256<int> dots = Pairs(Avx2.PackSignedSaturate(ab, cd));
        dots = Avx2.PermuteVar8x32(dots, Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7));
        int g = half * (LaneSum.Lanes / 2);
        dots += Vector256.Load(x.Corrections + g);
        Vector256<float> scale = (Avx2.ConvertToVector256Int32(Vector128.Load(scales)) << 16).AsSingle() * Vector256.Load(x.Scales + g);
        return sum + (Vector256.ConvertToSingle(dots) * scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Dot32(byte* weights, QuantizedRow x, int at)
    {
        Vector256<byte> mask = Vector256.Create((byte)15);
        Vector256<byte> packed = Vector256.Load(weights);
        Vector256<byte> odd = (packed.AsUInt16() >> 4).AsByte() & mask;
        if (AvxVnni.IsSupported)
        {
            Vector256<int> even = AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, packed & mask, Vector256.Load(x.Even + at));
            return AvxVnni.MultiplyWideningAndAdd(even, odd, Vector256.Load(x.Odd + at));
        }

        Vector256<short> products = Avx2.MultiplyAddAdjacent(packed & mask, Vector256.Load(x.Even + at)) + Avx2.MultiplyAddAdjacent(odd, Vector256.Load(x.Odd + at));
        return Pairs(products);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Pairs(Vector256<short> values) => Avx2.MultiplyAddAdjacent(values, Vector256<short>.One);
}
