// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Root-mean-square normalization of one row (arXiv:1910.07467).</summary>
internal static class RmsNorm
{
    /// <summary>y = x / sqrt(mean(x²) + epsilon) * weight; y may be x.</summary>
    public static void Apply(ReadOnlySpan<float> x, ReadOnlySpan<float> weight, float epsilon, Span<float> y)
    {
        float meanSquare = TensorPrimitives.SumOfSquares(x) / x.Length;
        TensorPrimitives.Multiply(x, 1 / MathF.Sqrt(meanSquare + epsilon), y);
        TensorPrimitives.Multiply(y[..x.Length], weight, y);
    }
}
