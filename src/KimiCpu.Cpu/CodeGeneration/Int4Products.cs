// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>INT4 weights as stored times rounded activations of one token; the bits of <see cref="Int4Gemv"/>. Stateless; usable by all threads at once.</summary>
internal sealed unsafe class Int4Products(ExecutableMemory code, GeneratedCode functions)
{
    private readonly delegate* unmanaged<Int4Arguments*, void> _function = (delegate* unmanaged<Int4Arguments*, void>)(code.Pointer + functions.Int4);

    /// <inheritdoc cref="TileKernel.MultiplyStored(in WeightMatrix, int, int, QuantizedRow, float*)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        if (rowBegin < rowEnd)
        {
            var arguments = new Int4Arguments(weight, rowBegin, rowEnd, x, y + rowBegin);
            _function(&arguments);

            // The pages live as long as the owner, which the running call keeps.
            GC.KeepAlive(code);
        }
    }
}
