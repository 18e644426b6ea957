// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Four groups at a time, one vector of 16 packed bytes each, and pairwise sums that turn four vectors into one. On Arm64
/// with the dot product extension two instructions multiply a group, without it four; elsewhere products are widened.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyVector128(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
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
            Vector128<float> a = Vector128<float>.Zero;
            Vector128<float> b = Vector128<float>.Zero;
            Vector128<float> c = Vector128<float>.Zero;
            Vector128<float> d = Vector128<float>.Zero;
            for (int s = 0; s < steps.Whole; s++)
            {
                a = QuarterStepVector128(data, scales, even, odd, corrections, factors, 0, a);
                b = QuarterStepVector128(data, scales, even, odd, corrections, factors, 1, b);
                c = QuarterStepVector128(data, scales, even, odd, corrections, factors, 2, c);
                d = QuarterStepVector128(data, scales, even, odd, corrections, factors, 3, d);
                data += StepBytes;
                scales += LaneSum.Lanes;
                even += StepBytes;
                odd += StepBytes;
                corrections += LaneSum.Lanes;
                factors += LaneSum.Lanes;
            }

            y[r] = steps.HasRest ? FoldRestVector128(steps, data, scales, even, odd, corrections, factors, a, b, c, d) : LaneSum.Fold(a, b, c, d);
        }
    }

    // Apart, so that the loop above has no calls to save its registers from.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float FoldRestVector128(RowSteps steps, byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, Vector128<float> a, Vector128<float> b, Vector128<float> c, Vector128<float> d)
    {
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        steps.CopyRest(data, scales, rest);
        ushort* restScales = (ushort*)(rest + StepBytes);
        a = QuarterStepVector128(rest, restScales, even, odd, corrections, factors, 0, a);
        b = QuarterStepVector128(rest, restScales, even, odd, corrections, factors, 1, b);
        c = QuarterStepVector128(rest, restScales, even, odd, corrections, factors, 2, c);
        d = QuarterStepVector128(rest, restScales, even, odd, corrections, factors, 3, d);
        return LaneSum.Fold(a, b, c, d);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> QuarterStepVector128(byte* data, ushort* scales, sbyte* even, sbyte* odd, int* corrections, float* factors, int quarter, Vector128<float> sum)
    {
        int g = quarter * (LaneSum.Lanes / 4);
        Vector128<int> dots = Dots64(data + (g * GroupBytes), even + (g * GroupBytes), odd + (g * GroupBytes)) + Vector128.Load(corrections + g);
        Vector128<float> scale = (Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<double>(scales + g)).AsUInt16()) << 16).AsSingle() * Vector128.Load(factors + g);
        return FusedMultiplyAdd.Of(Vector128.ConvertToSingle(dots), scale, sum);
    }

    /// <summary>Lane i: the sum of group i.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Dots64(byte* weights, sbyte* even, sbyte* odd)
    {
        if (Dp.IsSupported)
        {
            return AdvSimd.Arm64.AddPairwise(
                AdvSimd.Arm64.AddPairwise(DotProducts(weights, even, odd), DotProducts(weights + 16, even + 16, odd + 16)),
                AdvSimd.Arm64.AddPairwise(DotProducts(weights + 32, even + 32, odd + 32), DotProducts(weights + 48, even + 48, odd + 48)));
        }

        Vector128<short> a = Products(weights, even, odd);
        Vector128<short> b = Products(weights + 16, even + 16, odd + 16);
        Vector128<short> c = Products(weights + 32, even + 32, odd + 32);
        Vector128<short> d = Products(weights + 48, even + 48, odd + 48);
        if (AdvSimd.Arm64.IsSupported)
        {
            // Two steps stay within int16: at most 4 x 7620.
            return AdvSimd.AddPairwiseWidening(AdvSimd.Arm64.AddPairwise(AdvSimd.Arm64.AddPairwise(a, b), AdvSimd.Arm64.AddPairwise(c, d)));
        }

        return Vector128.Create(Sum(a), Sum(b), Sum(c), Sum(d));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> DotProducts(byte* weights, sbyte* even, sbyte* odd)
    {
        (Vector128<sbyte> low, Vector128<sbyte> high) = Nibbles(weights);
        return Dp.DotProduct(Dp.DotProduct(Vector128<int>.Zero, low, Vector128.Load(even)), high, Vector128.Load(odd));
    }

    /// <summary>Lane i: the products of columns 2 i, 2 i + 1, 2 i + 16 and 2 i + 17, at most 4 x 15 x 127 = 7620.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<short> Products(byte* weights, sbyte* even, sbyte* odd)
    {
        (Vector128<sbyte> low, Vector128<sbyte> high) = Nibbles(weights);
        Vector128<sbyte> e = Vector128.Load(even);
        Vector128<sbyte> o = Vector128.Load(odd);
        if (AdvSimd.IsSupported)
        {
            Vector128<short> sum = AdvSimd.MultiplyWideningLower(low.GetLower(), e.GetLower());
            sum = AdvSimd.MultiplyWideningUpperAndAdd(sum, low, e);
            sum = AdvSimd.MultiplyWideningLowerAndAdd(sum, high.GetLower(), o.GetLower());
            return AdvSimd.MultiplyWideningUpperAndAdd(sum, high, o);
        }

        return (Vector128.WidenLower(low) * Vector128.WidenLower(e)) + (Vector128.WidenUpper(low) * Vector128.WidenUpper(e))
            + (Vector128.WidenLower(high) * Vector128.WidenLower(o)) + (Vector128.WidenUpper(high) * Vector128.WidenUpper(o));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector128<sbyte> Low, Vector128<sbyte> High) Nibbles(byte* weights)
    {
        Vector128<byte> packed = Vector128.Load(weights);
        return ((packed & Vector128.Create((byte)15)).AsSByte(), (packed >> 4).AsSByte());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Sum(Vector128<short> products) => Vector128.Sum(Vector128.WidenLower(products) + Vector128.WidenUpper(products));
}
