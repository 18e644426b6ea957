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

    /// <summary>Adds a part to those before it. One that saw no token adds nothing.</summary>
    public static void Add(float* part, float* total, int width)
    {
        // The sum and not the maximum says so: kernels may lose a NaN from their maximum, but not from their sum.
        if (part[width + 1] == 0)
        {
            return;
        }

        float maximum = part[width];

        // MathF.Max returns NaN if there is one, which then reaches the result.
        float common = MathF.Max(total[width], maximum);
        float before = MathF.Exp(total[width] - common);
        float added = MathF.Exp(maximum - common);
        var sums = new Span<float>(total, width);
        RowMath.Scale(sums, before, sums);
        RowMath.AddScaled(sums, new ReadOnlySpan<float>(part, width), added);
        SetSums(total, width, common, (total[width + 1] * before) + (part[width + 1] * added));
    }

    /// <summary>The weighted mean of the values.</summary>
    public static void Mean(float* total, int width, float* mean) =>
        RowMath.Scale(new ReadOnlySpan<float>(total, width), 1 / total[width + 1], new Span<float>(mean, width));
}
