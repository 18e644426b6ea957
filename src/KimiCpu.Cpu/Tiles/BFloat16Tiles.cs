// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// Activations rounded to BF16, in tiles of tokens: (columns / 32, tokens of the tile, 32), the last columns padded with
/// zeros.
/// </summary>
internal sealed unsafe class BFloat16Tiles(TokenTiles tiles) : IDisposable
{
    public const int VectorColumns = 32;
    public const int VectorBytes = 2 * VectorColumns;

    private readonly AlignedBuffer<byte> _data = new();

    public int Tokens { get; private set; }

    public int Columns { get; private set; }

    private int Vectors => (Columns + VectorColumns - 1) / VectorColumns;

    /// <summary>Makes room; what was written before is lost.</summary>
    public void Resize(int tokens, int columns)
    {
        Tokens = tokens;
        Columns = columns;
        _data.EnsureCapacity((long)tokens * Vectors * VectorBytes);
    }

    /// <summary>Rounds whole rows of all tokens.</summary>
    /// <param name="x">(tokens, columns).</param>
    /// <param name="xStride">Floats.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="columns">At least 1.</param>
    public void Set(float* x, long xStride, int tokens, int columns)
    {
        Resize(tokens, columns);
        for (int tile = 0; tile < tiles.Count(tokens); tile++)
        {
            Write(tile, x, xStride);
        }
    }

    /// <summary>The tile that begins with a token.</summary>
    public byte* Tile(int firstToken) => _data.Pointer + ((long)firstToken * Vectors * VectorBytes);

    /// <summary>Rounds whole rows of the tokens of a tile.</summary>
    /// <param name="tile">Its index.</param>
    /// <param name="x">(tokens, columns): all tokens.</param>
    /// <param name="xStride">Floats.</param>
    public void Write(int tile, float* x, long xStride)
    {
        (int first, int count) = tiles.At(Tokens, tile);
        for (int t = 0; t < count; t++)
        {
            float* row = x + ((first + t) * xStride);
            for (int vector = 0; vector < Vectors; vector++)
            {
                int columns = Math.Min(VectorColumns, Columns - (vector * VectorColumns));
                ushort* target = Vector(first, count, t, vector);
                BFloat16Rounding.Round(row + (vector * VectorColumns), columns, target);
                ClearFrom(target, columns);
            }
        }
    }

    /// <summary>Rounds some columns of every token, and clears the padding where they are the last ones.</summary>
    /// <param name="values">(tokens, <paramref name="count"/>), rows <paramref name="stride"/> floats apart.</param>
    /// <param name="stride">Floats.</param>
    /// <param name="column">The first; from there to the end of its vector of 32 the columns have room.</param>
    /// <param name="count">At most 32.</param>
    public void WriteColumns(float* values, int stride, int column, int count)
    {
        (int vector, int at) = Math.DivRem(column, VectorColumns);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(at + count, VectorColumns);
        for (int first = 0; first < Tokens;)
        {
            int tokens = tiles.Next(Tokens - first);
            for (int t = 0; t < tokens; t++)
            {
                ushort* target = Vector(first, tokens, t, vector);
                BFloat16Rounding.Round(values + ((long)(first + t) * stride), count, target + at);
                if (column + count == Columns)
                {
                    ClearFrom(target, at + count);
                }
            }

            first += tokens;
        }
    }

    /// <summary>32 columns of a token.</summary>
    /// <param name="first">The tile's first token.</param>
    /// <param name="count">Its tokens, whose vectors of the same columns lie side by side.</param>
    /// <param name="token">Within the tile.</param>
    /// <param name="vector">Column / 32.</param>
    public ushort* Vector(int first, int count, int token, int vector) => (ushort*)(Tile(first) + ((((long)vector * count) + token) * VectorBytes));

    public void Dispose() => _data.Dispose();

    private static void ClearFrom(ushort* vector, int column) => new Span<ushort>(vector + column, VectorColumns - column).Clear();
}
