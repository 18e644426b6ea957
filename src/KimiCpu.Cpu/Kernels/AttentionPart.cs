// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// What one query has gathered over some cached tokens: (kv_lora) Σ e^(score - maximum) latent, the maximum, Σ e^(score - maximum).
/// Parts of consecutive tokens are added by rising position, so the result is the same whoever computed them.
/// </summary>
internal static unsafe class AttentionPart
{
    /// <summary>Floats of a part.</summary>
    public static int Width(int latentSize) => latentSize + 2;

    public static void SetSums(float* part, int latentSize, float maximum, float sum)
    {
        part[latentSize] = maximum;
        part[latentSize + 1] = sum;
    }

    /// <summary>Adds a part to those before it. One that saw no token adds nothing.</summary>
    public static void Add(float* part, float* total, int latentSize)
    {
        float maximum = part[latentSize];
        if (float.IsNegativeInfinity(maximum))
        {
            return;
        }

        // MathF.Max returns NaN if there is one, which then reaches the result.
        float common = MathF.Max(total[latentSize], maximum);
        float before = MathF.Exp(total[latentSize] - common);
        float added = MathF.Exp(maximum - common);
        var sums = new Span<float>(total, latentSize);
        TensorPrimitives.Multiply(sums, before, sums);
        TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(part, latentSize), added, sums, sums);
        SetSums(total, latentSize, common, (total[latentSize + 1] * before) + (part[latentSize + 1] * added));
    }

    /// <summary>The weighted mean of the latents.</summary>
    public static void Mean(float* total, int latentSize, float* mean) =>
        TensorPrimitives.Multiply(new ReadOnlySpan<float>(total, latentSize), 1 / total[latentSize + 1], new Span<float>(mean, latentSize));
}
