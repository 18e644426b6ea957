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
    /// <summary>Rows of a share of work with one token, which memory binds.</summary>
    private const int FewRows = 8;

    /// <summary>The same where each share rounds activations for itself.</summary>
    private const int FewRoundedRows = 16;

    private readonly Float8Products? _float8 = precision == ComputePrecision.Fast ? kernel.Float8Products : null;

    /// <inheritdoc cref="FloatGemv.Multiply(in WeightMatrix, int, int, float*, long, int, float*, long)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
    {
        if (Rounds(weight))
        {
            _float8!.Multiply(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
            return;
        }

        FloatGemv.Multiply(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
    }

    /// <summary>Rows that a share of work is made of; those of several tokens are multiplied in blocks of 32.</summary>
    public int RowsOfItem(in WeightMatrix weight, int tokens) => tokens > 1 ? WeightTile.Rows : Rounds(weight) ? FewRoundedRows : FewRows;

    private bool Rounds(in WeightMatrix weight) => _float8 is not null && weight.Format == WeightFormat.Float8Block;
}
