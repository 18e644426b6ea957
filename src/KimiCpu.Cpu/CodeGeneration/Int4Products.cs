// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>INT4 weights as stored times rounded activations of one token or a few; the bits of <see cref="Int4Gemv"/>. Stateless; usable by all threads at once.</summary>
internal sealed unsafe class Int4Products
{
    private const int BlockRows = WeightTile.Rows;

    private readonly ExecutableMemory _code;
    private readonly delegate* unmanaged<Int4Arguments*, void>[] _tokens;

    public Int4Products(ExecutableMemory code, GeneratedCode functions)
    {
        _code = code;
        _tokens = new delegate* unmanaged<Int4Arguments*, void>[functions.Int4.Count];
        for (int i = 0; i < _tokens.Length; i++)
        {
            _tokens[i] = (delegate* unmanaged<Int4Arguments*, void>)(code.Pointer + functions.Int4[i]);
        }
    }

    /// <inheritdoc cref="TileKernel.MultiplyStored(in WeightMatrix, int, int, QuantizedRow, float*)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, QuantizedRow x, float* y)
    {
        if (rowBegin < rowEnd)
        {
            var arguments = new Int4Arguments(weight, rowBegin, rowEnd, x, y + rowBegin);
            _tokens[0](&arguments);

            // The pages live as long as the owner, which the running call keeps.
            GC.KeepAlive(_code);
        }
    }

    /// <inheritdoc cref="TileKernel.MultiplyStored(in WeightMatrix, int, int, ReadOnlySpan{QuantizedRow}, float*, long)"/>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride)
    {
        if (x.Length == 1)
        {
            Multiply(weight, rowBegin, rowEnd, x[0], y);
            return;
        }

        byte* tiles = (byte*)FloatGemm.Scratch(StepTiles.Bytes(x.Length, weight.Columns) / sizeof(float));
        float* results = stackalloc float[BlockRows * Int4Code.MostTokens];
        var cut = new TokenTiles(Int4Code.MostTokens);
        for (int first = 0, tokens; first < x.Length; first += tokens)
        {
            tokens = cut.Next(x.Length - first);
            StepTiles.Write(x.Slice(first, tokens), tiles + StepTiles.Bytes(first, weight.Columns));
        }

        for (int row = rowBegin; row < rowEnd; row += BlockRows)
        {
            int end = Math.Min(row + BlockRows, rowEnd);
            if (x.Length > Int4Code.MostTokens)
            {
                // Then it stays in the second-level cache for all tiles.
                TileUnpacker.Touch(weight, row, 0);
            }

            for (int first = 0, tokens; first < x.Length; first += tokens)
            {
                tokens = cut.Next(x.Length - first);
                var arguments = new Int4Arguments(weight, row, end, tiles + StepTiles.Bytes(first, weight.Columns), tokens, results);
                _tokens[tokens - 1](&arguments);
                Write(results, end - row, tokens, y + (first * yStride) + row, yStride);
            }
        }

        GC.KeepAlive(_code);
    }

    /// <summary>(rows, 4) results by tokens.</summary>
    private static void Write(float* results, int rows, int tokens, float* y, long yStride)
    {
        for (int t = 0; t < tokens; t++)
        {
            float* target = y + (t * yStride);
            for (int row = 0; row < rows; row++)
            {
                target[row] = results[(row * Int4Code.MostTokens) + t];
            }
        }
    }
}
