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
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            sbyte* even = x.Even;
            sbyte* odd = x.Odd;
            int* corrections = x.Corrections;
            float* factors = x.Scales;
            Vector256<float> low = Vector256<float>.Zero;
            Vector256<float> high = Vector256<float>.Zero;
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
                low = HalfStepAvx2(data, scales, even, odd, corrections, factors, 0, low);
                high = HalfStepAvx2(data, scales, even, odd, corrections, factors, 1, high);
                data += StepBytes;
                scales += LaneSum.Lanes;
                even += StepBytes;
                odd += StepBytes;
                corrections += LaneSum.Lanes;
                factors += LaneSum.Lanes;
            }

            y[r] = steps.HasRest ? FoldRestAvx2(steps, data, scales, even, odd, corrections, factors, low, high) : LaneSum.Fold(low, high);
        }
    }

    // Apart, so that the loop above has no calls to save its registers from.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float FoldRestAvx2(RowSteps steps, byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, Vector256<float> low, Vector256<float> high)
    {
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        steps.CopyRest(data, scales, rest);
        low = HalfStepAvx2(rest, (ushort*)(rest + StepBytes), even, odd, corrections, factors, 0, low);
        high = HalfStepAvx2(rest, (ushort*)(rest + StepBytes), even, odd, corrections, factors, 1, high);
        return LaneSum.Fold(low, high);
    }

    /// <param name="data">(256) a step of packed weights.</param>
    /// <param name="scales">(16) their scales.</param>
    /// <param name="even">(256) even columns of the activations that meet them.</param>
    /// <param name="odd">(256) the odd ones.</param>
    /// <param name="corrections">(16) of the activations' groups.</param>
    /// <param name="factors">(16) of the activations' groups.</param>
    /// <param name="half">0 or 1, a constant: with pointers that move by whole steps, every other offset is one too.</param>
    /// <param name="sum">Is added to.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> HalfStepAvx2(byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, int half, Vector256<float> sum)
    {
        data += half * (StepBytes / 2);
        even += half * (StepBytes / 2);
        odd += half * (StepBytes / 2);
        Vector256<int> a = Dot32(data, even, odd);
        Vector256<int> b = Dot32(data + 32, even + 32, odd + 32);
        Vector256<int> c = Dot32(data + 64, even + 64, odd + 64);
        Vector256<int> d = Dot32(data + 96, even + 96, odd + 96);

        Vector256<int> dots = EightGroups(a, b, c, d);
        int g = half * (LaneSum.Lanes / 2);
        dots += Vector256.Load(corrections + g);
        Vector256<float> scale = (Avx2.ConvertToVector256Int32(Vector128.Load(scales + g)) << 16).AsSingle() * Vector256.Load(factors + g);
        return Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(dots), scale, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Dot32(byte* weights, sbyte* evens, sbyte* odds)
    {
        Vector256<byte> mask = Vector256.Create((byte)15);
        Vector256<byte> packed = Vector256.Load(weights);
        return Dot32(packed & mask, (packed.AsUInt16() >> 4).AsByte() & mask, evens, odds);
    }

    /// <summary>Four sums of each of two groups, a group a 128-bit half.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Dot32(Vector256<byte> even, Vector256<byte> odd, sbyte* evens, sbyte* odds)
    {
        if (AvxVnni.IsSupported)
        {
            Vector256<int> sums = AvxVnni.MultiplyWideningAndAdd(Vector256<int>.Zero, even, Vector256.Load(evens));
            return AvxVnni.MultiplyWideningAndAdd(sums, odd, Vector256.Load(odds));
        }

        return Pairs(Avx2.MultiplyAddAdjacent(even, Vector256.Load(evens)) + Avx2.MultiplyAddAdjacent(odd, Vector256.Load(odds)));
    }

    /// <summary>The sums of eight groups, by rising group, from those of twice four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> EightGroups(Vector256<int> a, Vector256<int> b, Vector256<int> c, Vector256<int> d)
    {
        // The four sums of a group are at most 15240 each, and so are two of them 30480: they fit where they are packed.
        Vector256<int> ab = Pairs(Avx2.PackSignedSaturate(a, b));
        Vector256<int> cd = Pairs(Avx2.PackSignedSaturate(c, d));
        Vector256<int> dots = Pairs(Avx2.PackSignedSaturate(ab, cd));
        return Avx2.PermuteVar8x32(dots, Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Pairs(Vector256<short> values) => Avx2.MultiplyAddAdjacent(values, Vector256<short>.One);
}
