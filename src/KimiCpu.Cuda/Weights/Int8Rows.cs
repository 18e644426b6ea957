// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;

namespace KimiCpu.Cuda.Weights;

/// <summary>Rounds rows of weights to signed bytes, symmetric, with a binary16 factor for every 128 columns.</summary>
internal static unsafe class Int8Rows
{
    /// <param name="source">Of any stored format.</param>
    /// <param name="row">Which row.</param>
    /// <param name="values">(columns).</param>
    /// <param name="scales">(ceil(columns / 128)).</param>
    public static void Round(in WeightMatrix source, int row, sbyte* values, Half* scales)
    {
        float* group = stackalloc float[DeviceFormats.Int8Group];
        for (int first = 0, g = 0; first < source.Columns; first += DeviceFormats.Int8Group, g++)
        {
            int count = Math.Min(DeviceFormats.Int8Group, source.Columns - first);
            float largest = 0;
            for (int i = 0; i < count; i++)
            {
                group[i] = source.Format == WeightFormat.BFloat16
                    ? BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(source.Data + (row * source.RowBytes) + (2L * (first + i))))
                    : (float)ReferenceLinear.Element(source, row, first + i);

                // A NaN stays: the factor becomes one, and with it the group.
                largest = float.IsNaN(group[i]) ? float.NaN : Math.Max(largest, Math.Abs(group[i]));
            }

            // Rounded up to a factor that binary16 has, so that no value exceeds 127 of them.
            Half factor = (Half)(largest / 127);
            if ((float)factor * 127 < largest)
            {
                factor = Half.BitIncrement(factor);
            }

            scales[g] = factor;
            float inverse = factor == (Half)0 ? 0 : 1 / (float)factor;
            for (int i = 0; i < count; i++)
            {
                values[first + i] = (sbyte)Math.Clamp(MathF.Round(group[i] * inverse), -127, 127);
            }
        }
    }
}
