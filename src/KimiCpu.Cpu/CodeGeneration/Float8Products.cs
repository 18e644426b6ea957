// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// FP8 weights as stored times activations that are multiplied by their blocks' scales and then rounded to BF16, anew for each
/// row of blocks. One token meets codes that are decoded in registers; several meet rows that were decoded for all of
/// them. The sum of a (row, token) pair never depends on how many tokens or rows a call has. An activation times a scale beyond
/// the range of single precision is infinite. Stateless but for scratch of each thread; usable by all threads at once.
/// </summary>
internal sealed unsafe class Float8Products
{
    private const int StepColumns = Float8Codes.StepColumns;

    /// <summary>Rows that are decoded together.</summary>
    private const int DecodedRows = WeightTile.Rows;

    /// <summary>Tokens whose activations are held for a row of blocks: each such part decodes the rows again.</summary>
    private const int PartTokens = 96;

    [ThreadStatic]
    private static AlignedBuffer<ushort>? t_scratch;

    [ThreadStatic]
    private static BFloat16Tiles? t_tiles;

    private readonly ExecutableMemory _code;
    private readonly BFloat16Products _decoded;
    private readonly delegate* unmanaged<Float8Arguments*, void> _rows;
    private readonly delegate* unmanaged<Float8Arguments*, void> _oneRow;
    private readonly delegate* unmanaged<Float8ActivationsArguments*, void> _activations;

    public Float8Products(ExecutableMemory code, GeneratedCode functions, BFloat16Products decoded)
    {
        _code = code;
        _decoded = decoded;
        _rows = (delegate* unmanaged<Float8Arguments*, void>)(code.Pointer + functions.Float8Rows);
        _oneRow = (delegate* unmanaged<Float8Arguments*, void>)(code.Pointer + functions.Float8OneRow);
        _activations = (delegate* unmanaged<Float8ActivationsArguments*, void>)(code.Pointer + functions.Float8Activations);
    }

    /// <summary>y[t, r] = Σ W[r, c] x[t, c].</summary>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Float8Block"/>, with blocks of any size.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">(tokens, columns), rows <paramref name="xStride"/> floats apart.</param>
    /// <param name="xStride">Floats.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    public void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
    {
        int steps = (weight.Columns + StepColumns - 1) / StepColumns;
        int blocks = (weight.Columns + weight.BlockColumns - 1) / weight.BlockColumns;
        for (int row = rowBegin, end; row < rowEnd; row = end)
        {
            end = Math.Min(rowEnd, ((row / weight.BlockRows) + 1) * weight.BlockRows);
            byte* scales = weight.Scales + (sizeof(float) * (long)blocks * (row / weight.BlockRows));
            if (tokens == 1)
            {
                OneToken(weight, row, end, x, scales, steps, y);
                continue;
            }

            for (int first = 0, count; first < tokens; first += count)
            {
                // Even parts: one token alone has no use for decoded rows.
                count = new TokenTiles(PartTokens).Next(tokens - first);
                Part(weight, row, end, x + (first * xStride), xStride, count, scales, steps, y + (first * yStride), yStride);
            }
        }

        // The pages live as long as the owner, which the running call keeps.
        GC.KeepAlive(_code);
    }

    private static ushort* Scratch(long elements) => (t_scratch ??= new AlignedBuffer<ushort>()).EnsureCapacity(elements);

    private void OneToken(in WeightMatrix weight, int row, int end, float* x, byte* scales, int steps, float* y)
    {
        ushort* rounded = Scratch((long)steps * StepColumns);
        Round(weight, x, scales, rounded, BFloat16Tiles.VectorBytes);
        const int Streams = Float8Code.Rows;
        int quarter = (end - row) / Streams;
        float* sums = stackalloc float[2 * Streams * LaneSum.Lanes];
        var arguments = new Float8Arguments
        {
            Weights = weight.Data + (row * weight.RowBytes),
            RowBytes = quarter * weight.RowBytes,
            X = (byte*)rounded,
            XEnd = (byte*)(rounded + (weight.Columns / StepColumns * StepColumns)),
            RestMask = (1UL << (weight.Columns % StepColumns)) - 1,
            Tables = Float8Codes.Tables,
        };
        for (int i = 0; i < quarter; i++)
        {
            arguments.Sums = sums + (i % 2 * Streams * LaneSum.Lanes);
            _rows(&arguments);
            arguments.Weights += weight.RowBytes;
            StreamSums.Fold(sums, i, quarter, y + row);
        }

        row += Streams * quarter;
        arguments.Weights = weight.Data + (row * weight.RowBytes);
        arguments.Sums = sums;
        for (; row < end; row++, arguments.Weights += weight.RowBytes)
        {
            _oneRow(&arguments);
            y[row] = Lanes512.Sum(Lanes512.Load(sums));
        }
    }

    /// <summary>Some tokens and rows of the same blocks.</summary>
    private void Part(in WeightMatrix weight, int row, int end, float* x, long xStride, int tokens, byte* scales, int steps, float* y, long yStride)
    {
        int columns = steps * StepColumns;
        ushort* decoded = Scratch((long)columns * DecodedRows);
        BFloat16Tiles tiles = t_tiles ??= new BFloat16Tiles(_decoded.Tiles);
        tiles.Resize(tokens, columns);
        for (int first = 0, count; first < tokens; first += count)
        {
            count = _decoded.Tiles.Next(tokens - first);
            for (int t = 0; t < count; t++)
            {
                Round(weight, x + ((first + t) * xStride), scales, tiles.Vector(first, count, t, 0), (long)count * BFloat16Tiles.VectorBytes);
            }
        }

        for (int rows; row < end; row += rows)
        {
            rows = Math.Min(DecodedRows, end - row);
            byte* data = weight.Data + (row * weight.RowBytes);
            for (int r = 0; r < rows; r++)
            {
                Float8Codes.Decode(data + (r * weight.RowBytes), weight.Columns, decoded + ((long)r * columns));
            }

            var block = new WeightMatrix(WeightFormat.BFloat16, rows, columns, (byte*)decoded);
            _decoded.MultiplyCached(block, tiles, y + row, yStride, data + (rows * weight.RowBytes), rows * weight.RowBytes);
        }
    }

    /// <summary>A token's activations for a row of blocks: whole vectors, <paramref name="stride"/> bytes apart, zeros behind the last column.</summary>
    private void Round(in WeightMatrix weight, float* x, byte* scales, ushort* target, long stride)
    {
        int column = 0;
        int block = weight.BlockColumns;
        if (block % StepColumns == 0 && weight.Columns >= block)
        {
            int blocks = weight.Columns / block;
            var arguments = new Float8ActivationsArguments
            {
                X = x,
                Scales = scales,
                Blocks = blocks,
                StepsOfBlock = block / StepColumns,
                Target = (byte*)target,
                TargetStride = stride,
            };
            _activations(&arguments);
            column = blocks * block;
        }

        float* scaled = stackalloc float[StepColumns];
        ushort* rounded = stackalloc ushort[StepColumns];
        for (; column < weight.Columns; column += StepColumns)
        {
            int count = Math.Min(StepColumns, weight.Columns - column);
            Arrangement.Scale(x + column, scaled, column, count, scales, block);
            BFloat16Rounding.Round(scaled, count, rounded);
            new Span<ushort>(rounded + count, StepColumns - count).Clear();
            byte* first = (byte*)target + (column / BFloat16Tiles.VectorColumns * stride);
            Float8Codes.Arrange(rounded, (ushort*)first, (ushort*)(first + stride));
        }
    }
}
