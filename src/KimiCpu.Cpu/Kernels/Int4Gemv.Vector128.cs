// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// One group a step: 16 packed bytes give 16 even and 16 odd weights, products are summed as int16 (at most 4 x 15 x 127
/// = 7620 a lane), widened to four int32 lanes, and accumulated as floats in four lanes.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyVector128(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            for (int t = 0; t < tokens; t++)
            {
                y[(t * yStride) + r] = GroupsFrom(data, scales, 0, weight.Columns, x.Row(tokenRows[t]));
            }
        }
    }

    /// <summary>Σ over the groups from <paramref name="first"/> to the end of the row; the tail of every wider path.</summary>
    private static float GroupsFrom(byte* data, ushort* scales, int first, int columns, QuantizedRow row)
    {
        Vector128<float> sum = Vector128<float>.Zero;
        float bias = 0;
        int full = columns / GroupSize;
        int g = first;
        for (; g < full; g++)
        {
            float scale = Scale(scales, g) * row.Scales[g];
            Vector128<byte> packed = Vector128.Load(data + (g * GroupBytes));
            Vector128<short> low = Products(packed & Vector128.Create((byte)15), Vector128.Load(row.Even + (g * GroupBytes)));
            Vector128<short> high = Products(packed >> 4, Vector128.Load(row.Odd + (g * GroupBytes)));
            Vector128<short> both = low + high;
            Vector128<int> dot = Vector128.WidenLower(both) + Vector128.WidenUpper(both);
            sum += Vector128.ConvertToSingle(dot) * scale;
            bias += row.Sums[g] * scale;
        }

        float total = Vector128.Sum(sum) - (Int4Group32.Bias * bias);
        for (; g < row.Groups; g++)
        {
            int dot = GroupDot(data, columns, row, g) - (Int4Group32.Bias * row.Sums[g]);
            total += dot * (Scale(scales, g) * row.Scales[g]);
        }

        return total;
    }

    /// <summary>Lane i: w[i] x[i] + w[i + 8] x[i + 8].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<short> Products(Vector128<byte> weights, Vector128<sbyte> x) =>
        (Vector128.WidenLower(weights).AsInt16() * Vector128.WidenLower(x)) + (Vector128.WidenUpper(weights).AsInt16() * Vector128.WidenUpper(x));
}
