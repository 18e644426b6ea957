// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// What one query has gathered over some tokens: (width) Σ e^(score - maximum) value, the maximum, Σ e^(score - maximum). Values are latents or expanded.
/// Parts of consecutive tokens are added by rising position, so the result is the same whoever computed them.
/// </summary>
internal static unsafe class AttentionPart
{
    /// <summary>Floats of a part.</summary>
    public static int Width(int valueWidth) => valueWidth + 2;

    public static void SetSums(float* part, int width, float maximum, float sum)
    {
        part[width] = maximum;
        part[width + 1] = sum;
    }

    /// <summary>Adds a part to those before it.</summary>
    public static void Add(float* part, float* total, int width) => Add(part, part[width], part[width + 1], total, width);

    /// <summary>Adds a part to those before it. One that saw no token adds nothing.</summary>
    public static void Add(float* values, float maximum, float sum, float* total, int width)
    {
        // The sum and not the maximum says so: kernels may lose a NaN from their maximum, but not from their sum.
        if (sum == 0)
        {
            return;
        }

        var before = new Span<float>(total, width);
        var added = new ReadOnlySpan<float>(values, width);
        float totalMaximum = total[width], totalSum = total[width + 1];
        if (maximum > totalMaximum)
        {
            float factor = MathF.Exp(totalMaximum - maximum);
            RowMath.ScaleAdd(before, factor, added);
            SetSums(total, width, maximum, (totalSum * factor) + sum);
        }
        else
        {
            // With a NaN of either maximum this factor is one, too, and reaches the result.
            float factor = MathF.Exp(maximum - totalMaximum);
            RowMath.AddScaled(before, added, factor);
            SetSums(total, width, totalMaximum, totalSum + (sum * factor));
        }
    }

    /// <summary>The weighted mean of the values.</summary>
    public static void Mean(float* total, int width, float* mean) =>
        RowMath.Scale(new ReadOnlySpan<float>(total, width), 1 / total[width + 1], new Span<float>(mean, width));
}
