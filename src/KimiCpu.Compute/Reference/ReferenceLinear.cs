// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;

namespace KimiCpu.Compute.Reference;

/// <summary>
/// Linear layers as written on paper: every weight decoded exactly, products summed in double precision in column
/// order. Never optimized; it judges every other implementation.
/// </summary>
internal static unsafe class ReferenceLinear
{
    /// <summary>y (rows, w.Rows) = x (rows, w.Columns) Wᵀ.</summary>
    public static void Multiply(in WeightMatrix weight, ReadOnlySpan<float> x, int rows, Span<float> y)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(x.Length, rows * weight.Columns);
        ArgumentOutOfRangeException.ThrowIfNotEqual(y.Length, rows * weight.Rows);
        var decoded = new double[weight.Columns];
        for (int r = 0; r < weight.Rows; r++)
        {
            DecodeRow(weight, r, decoded);
            for (int t = 0; t < rows; t++)
            {
                ReadOnlySpan<float> input = x.Slice(t * weight.Columns, weight.Columns);
                double sum = 0;
                for (int c = 0; c < decoded.Length; c++)
                {
                    sum += decoded[c] * input[c];
                }

                y[(t * weight.Rows) + r] = (float)sum;
            }
        }
    }

    /// <summary>The exact values of one row, length w.Columns.</summary>
    public static void DecodeRow(in WeightMatrix weight, int row, Span<double> values)
    {
        for (int c = 0; c < values.Length; c++)
        {
            values[c] = Element(weight, row, c);
        }
    }

    /// <summary>The exact value of one weight.</summary>
    public static double Element(in WeightMatrix weight, int row, int column)
    {
        byte* data = weight.Data + (row * weight.RowBytes);
        switch (weight.Format)
        {
            case WeightFormat.Float32:
                return Unsafe.ReadUnaligned<float>(data + (4L * column));
            case WeightFormat.Float16:
                return (double)Unsafe.ReadUnaligned<Half>(data + (2L * column));
            case WeightFormat.BFloat16:
                return BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(data + (2L * column)));
            case WeightFormat.Float8Block:
                long blocksPerRow = (weight.Columns + weight.BlockColumns - 1) / weight.BlockColumns;
                long block = (row / weight.BlockRows * blocksPerRow) + (column / weight.BlockColumns);
                double factor = Unsafe.ReadUnaligned<float>(weight.Scales + (4 * block));
                return Float8E4M3.Values[data[column]] * factor;
            case WeightFormat.Int4Group32:
                int nibble = (data[column / 2] >> (4 * (column & 1))) & 15;
                long group = ((long)row * Int4Group32.GroupsPerRow(weight.Columns)) + (column / Int4Group32.GroupSize);
                double scale = BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(weight.Scales + (2 * group)));
                return (nibble - Int4Group32.Bias) * scale;
            default:
                throw new NotSupportedException($"Weight format {weight.Format} has no reference.");
        }
    }
}
