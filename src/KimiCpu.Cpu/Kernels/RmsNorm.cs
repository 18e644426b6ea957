// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu.Kernels;

/// <summary>Root-mean-square normalization of one row (arXiv:1910.07467).</summary>
internal static class RmsNorm
{
    /// <summary>y = x / sqrt(mean(x²) + epsilon) * weight; y may be x.</summary>
    public static void Apply(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float epsilon, Span<float> y)
    {
        float meanSquare = RowMath.SumOfSquares(CpuFeatures.Best, x) / x.Length;
        RowMath.Apply<RowScaleMultiply>(CpuFeatures.Best, x, weight, 1 / MathF.Sqrt(meanSquare + epsilon), y[..x.Length]);
    }
}
