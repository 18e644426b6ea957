// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Weights of any format as stored. Activations stay in single precision, except for FP8 weights in fast mode where the CPU
/// has instructions for BF16. Stateless.
/// </summary>
/// <param name="kernel">May multiply FP8 weights.</param>
/// <param name="precision">Whether activations may be rounded.</param>
internal sealed unsafe class StoredProducts(TileKernel kernel, ComputePrecision precision)
{
    private readonly Float8Products? _float8 = precision == ComputePrecision.Fast ? kernel.Float8Products : null;

    /// <inheritdoc cref="FloatGemv.Multiply(in WeightMatrix, int, int, float*, long, int, float*, long)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
    {
        if (_float8 is not null && weight.Format == WeightFormat.Float8Block)
        {
            _float8.Multiply(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
            return;
        }

        FloatGemv.Multiply(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
    }
}
