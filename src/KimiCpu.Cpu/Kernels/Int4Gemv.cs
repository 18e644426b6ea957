// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// INT4 weights as they lie in the checkpoint times int8 activations. Within a group of 32 columns the products are
/// summed exactly in int32; the groups' sums, each times weight scale times activation scale, are added in single
/// precision. Instruction sets differ in the order of that last sum only; tokens, row ranges and threads never matter.
/// One token is bound by memory: 16 + 2 bytes a group.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    private const int GroupSize = Int4Group32.GroupSize;

    /// <summary>Packed bytes, and even or odd activations, of a group.</summary>
    private const int GroupBytes = GroupSize / 2;

    /// <summary>y[t, r] = Σ W[r, c] x[t, c].</summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">Rounded rows of weight.Columns columns.</param>
    /// <param name="tokenRows">Which rows of x; one per token.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    public static void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride) =>
        Multiply(CpuFeatures.Best, weight, rowBegin, rowEnd, x, tokenRows, tokens, y, yStride);

    /// <summary>The same with a given instruction set, which must be supported.</summary>
    public static void Multiply(InstructionSet set, in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                MultiplyAvx512(weight, rowBegin, rowEnd, x, tokenRows, tokens, y, yStride);
                break;
            case InstructionSet.Avx2:
                MultiplyAvx2(weight, rowBegin, rowEnd, x, tokenRows, tokens, y, yStride);
                break;
            case InstructionSet.Vector128:
                MultiplyVector128(weight, rowBegin, rowEnd, x, tokenRows, tokens, y, yStride);
                break;
            default:
                MultiplyScalar(weight, rowBegin, rowEnd, x, tokenRows, tokens, y, yStride);
                break;
        }
    }

    private static void MultiplyScalar(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRows x, int* tokenRows, int tokens, float* y, long yStride)
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            for (int t = 0; t < tokens; t++)
            {
                QuantizedRow row = x.Row(tokenRows[t]);
                float sum = 0;
                for (int g = 0; g < groups; g++)
                {
                    int dot = GroupDot(data, weight.Columns, row, g) - (Int4Group32.Bias * row.Sums[g]);
                    sum += dot * (Scale(scales, g) * row.Scales[g]);
                }

                y[(t * yStride) + r] = sum;
            }
        }
    }

    /// <summary>Σ of stored nibble (with its bias) times rounded activation over one group, the ragged last one included.</summary>
    private static int GroupDot(byte* data, int columns, QuantizedRow row, int g)
    {
        int dot = 0;
        int end = Math.Min(GroupSize, columns - (g * GroupSize));
        for (int c = 0; c < end; c++)
        {
            int at = (g * GroupBytes) + (c / 2);
            dot += (c & 1) == 0 ? (data[at] & 15) * row.Even[at] : (data[at] >> 4) * row.Odd[at];
        }

        return dot;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* DataOf(in WeightMatrix weight, int row) => weight.Data + ((long)row * Int4Group32.RowBytes(weight.Columns));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ushort* ScalesOf(in WeightMatrix weight, int row, int groups) => (ushort*)(weight.Scales + (2L * row * groups));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Scale(ushort* scales, int g) => BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(scales + g));
}
