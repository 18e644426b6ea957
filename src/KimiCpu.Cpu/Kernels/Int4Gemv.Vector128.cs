// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Four groups at a time, one vector of 16 packed bytes each. On Arm64 with the dot product extension two instructions
/// sum a group; elsewhere products are summed as int16 (at most 4 x 15 x 127 = 7620 a lane) and widened.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyVector128(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        var steps = new RowSteps(weight.Columns);
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        float* lanes = stackalloc float[LaneSum.Lanes];
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            new Span<float>(lanes, LaneSum.Lanes).Clear();
            for (int s = 0; s < steps.Whole; s++)
            {
                StepVector128(data + (s * StepBytes), scales + (s * LaneSum.Lanes), x, s, lanes);
            }

            if (steps.HasRest)
            {
                steps.CopyRest(data, scales, rest);
                StepVector128(rest, (ushort*)(rest + StepBytes), x, steps.Whole, lanes);
            }

            y[r] = LaneSum.Fold(lanes);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StepVector128(byte* data, ushort* scales, QuantizedRow x, int step, float* lanes)
    {
        for (int i = 0; i < LaneSum.Lanes; i += 4)
        {
            int at = (step * StepBytes) + (i * GroupBytes);
            byte* packed = data + (i * GroupBytes);
            Vector128<int> dots = Vector128.Create(
                Vector128.Sum(Dot16(packed, x, at)),
                Vector128.Sum(Dot16(packed + 16, x, at + 16)),
                Vector128.Sum(Dot16(packed + 32, x, at + 32)),
                Vector128.Sum(Dot16(packed + 48, x, at + 48)));
            int g = (step * LaneSum.Lanes) + i;
            dots += Vector128.Load(x.Corrections + g);
            Vector128<float> scale = (Vector128.WidenLower(Vector128.CreateScalar(Unsafe.ReadUnaligned<ulong>(scales + i)).AsUInt16()) << 16).AsSingle() * Vector128.Load(x.Scales + g);
            (Vector128.Load(lanes + i) + (Vector128.ConvertToSingle(dots) * scale)).Store(lanes + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Dot16(byte* weights, QuantizedRow x, int at)
    {
        Vector128<byte> packed = Vector128.Load(weights);
        Vector128<byte> even = packed & Vector128.Create((byte)15);
        Vector128<byte> odd = packed >> 4;
        if (Dp.IsSupported)
        {
            return Dp.DotProduct(Dp.DotProduct(Vector128<int>.Zero, even.AsSByte(), Vector128.Load(x.Even + at)), odd.AsSByte(), Vector128.Load(x.Odd + at));
        }

        Vector128<short> both = Products(even, Vector128.Load(x.Even + at)) + Products(odd, Vector128.Load(x.Odd + at));
        return Vector128.WidenLower(both) + Vector128.WidenUpper(both);
    }

    /// <summary>Lane i: w[i] x[i] + w[i + 8] x[i + 8].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<short> Products(Vector128<byte> weights, Vector128<sbyte> x) =>
        (Vector128.WidenLower(weights).AsInt16() * Vector128.WidenLower(x)) + (Vector128.WidenUpper(weights).AsInt16() * Vector128.WidenUpper(x));
}
