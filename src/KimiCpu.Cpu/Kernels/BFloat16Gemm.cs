// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// BF16 weights times several tokens: weights are widened in registers, a shift and a mask
/// for 2 x 6 multiply-adds with activations from the first-level cache, so nothing is decoded to memory first. A part of
/// the columns of up to 64 rows stays in the second-level cache while tokens pass by, six at a time. Each sum is formed in
/// exactly the order of <see cref="FloatGemv"/>.
/// </summary>
internal static unsafe partial class BFloat16Gemm
{
    private const int MostTokens = 6;

    /// <summary>Most tokens for which all sums of rows that are multiplied together fit into registers.</summary>
    private const int FewTokens = 3;

    /// <summary>Columns of activations that stay in the first-level cache, 6 tokens x 3 KB, beside the rows that they meet.</summary>
    private const int ColumnPart = 768;

    /// <summary>Not a power of two, which would bring all tokens to the same places of the cache.</summary>
    private const int PackedStride = ColumnPart + 16;

    private const int BlockRows = 64;

    /// <summary>Tokens whose sums for all rows of a block stay in the second-level cache: 192 KB, 384 KB with 512 bits.</summary>
    private const int BlockTokens = 48;

    /// <summary>As <see cref="FloatGemv.Multiply(in WeightMatrix, int, int, float*, long, int, float*, long)"/>.</summary>
    public static void Multiply<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int step = Arrangement.Step<TLanes>(WeightFormat.BFloat16);
        int whole = weight.Columns / step * step;
        const int PackedFloats = MostTokens * PackedStride;
        float* packed = FloatGemm.Scratch(PackedFloats + ((long)step * BlockRows * BlockTokens));
        for (int row = rowBegin; row < rowEnd; row += BlockRows)
        {
            int rows = Math.Min(BlockRows, rowEnd - row);
            for (int t = 0; t < tokens; t += BlockTokens)
            {
                var block = new Block(weight, row, rows, whole, packed, packed + PackedFloats);
                int count = Math.Min(BlockTokens, tokens - t);
                for (int first = 0; first == 0 || first < whole; first += ColumnPart)
                {
                    Part<TLanes>(block, first, Math.Min(ColumnPart, whole - first), x + (t * xStride), xStride, count);
                }

                Fold<TLanes>(block, x + (t * xStride), xStride, count, y + (t * yStride) + row, yStride);
            }
        }
    }

    /// <summary>Adds the products of some columns to the sums of all rows and tokens of a block.</summary>
    private static void Part<TLanes>(in Block block, int first, int columns, float* x, long xStride, int tokens)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* sums = block.Sums;
        byte* data = block.Data + (2L * first);
        int behind = Math.Min(ColumnPart, block.Whole - first - columns);
        for (int t = 0; t < tokens;)
        {
            int count = new TokenTiles(MostTokens).Next(tokens - t);
            int left = tokens - t - count;
            Ahead ahead = left > 0
                ? new Ahead(x + ((t + count) * xStride) + first, xStride, Math.Min(left, MostTokens), columns, block.Rows)
                : new Ahead(x + first + columns, xStride, Math.Min(tokens, MostTokens), behind, block.Rows);
            for (int i = 0; i < count; i++)
            {
                Arrangement.Apply<TLanes>(x + ((t + i) * xStride) + first, block.Packed + (i * PackedStride), columns, 2);
            }

            bool cold = t == 0;
            switch (count)
            {
                case 1:
                    Rows<TLanes, OneToken>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
                case 2:
                    Rows<TLanes, TwoTokens>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
                case 3:
                    Rows<TLanes, ThreeTokens>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
                case 4:
                    Rows<TLanes, FourTokens>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
                case 5:
                    Rows<TLanes, FiveTokens>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
                default:
                    Rows<TLanes, SixTokens>(block, data, columns, first > 0, cold, sums, ahead);
                    break;
            }

            sums += 2 * block.Rows * count * TLanes.Count;
            t += count;
        }
    }

    /// <summary>All rows with the tokens of a tile; sums (even or odd, rows, tokens).</summary>
    private static void Rows<TLanes, TTokens>(in Block block, byte* data, int columns, bool add, bool cold, float* sums, in Ahead ahead)
        where TLanes : unmanaged, ILanes<TLanes>
        where TTokens : ITokenCount
    {
        int row = 0;
        int together = RowsTogether<TLanes>();
        int rowSums = TTokens.Count * TLanes.Count;
        long odd = (long)block.Rows * rowSums;
        for (; row + together <= block.Rows; row += together)
        {
            for (int i = row; i < row + together; i++)
            {
                ahead.Ask(i);
            }

            byte* rows = data + (row * block.RowBytes);
            float* target = sums + (row * rowSums);
            if (TTokens.Count <= FewTokens)
            {
                SomeRows<TLanes, TTokens>(rows, block.RowBytes, columns, block.Packed, add, target, odd);
                continue;
            }

            if (cold)
            {
                HalfOfRows<TLanes, TTokens, EvenColumnsAsking<TLanes>>(rows, block.RowBytes, columns, block.Packed, add, target);
            }
            else
            {
                HalfOfRows<TLanes, TTokens, EvenColumns<TLanes>>(rows, block.RowBytes, columns, block.Packed, add, target);
            }

            HalfOfRows<TLanes, TTokens, OddColumns<TLanes>>(rows, block.RowBytes, columns, block.Packed, add, target + odd);
        }

        for (; row < block.Rows; row++)
        {
            ahead.Ask(row);
            OneRow<TLanes, TTokens>(data + (row * block.RowBytes), block.RowBytes, columns, block.Packed, add, sums + (row * rowSums), odd);
        }
    }

    /// <summary>Even plus odd sums, folded, and the columns behind the whole steps.</summary>
    private static void Fold<TLanes>(in Block block, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        const int Together = 8;
        float* sums = block.Sums;
        for (int t = 0; t < tokens;)
        {
            int count = new TokenTiles(MostTokens).Next(tokens - t);
            int vectors = block.Rows * count;
            for (int i = 0; i < vectors; i += Together)
            {
                for (int k = i; k < Math.Min(i + Together, vectors); k++)
                {
                    float* even = sums + (k * TLanes.Count);
                    TLanes.Store(TLanes.Add(TLanes.Load(even), TLanes.Load(even + (vectors * TLanes.Count))), even);
                }

                // The floats land on vectors that are folded already.
                TLanes.Sum8(sums + (i * TLanes.Count), sums + i);
            }

            for (int row = 0; row < block.Rows; row++)
            {
                for (int i = 0; i < count; i++)
                {
                    y[((t + i) * yStride) + row] = sums[(row * count) + i];
                }
            }

            sums += 2 * vectors * TLanes.Count;
            t += count;
        }

        for (int row = 0; row < block.Rows && block.Whole < block.Columns; row++)
        {
            for (int t = 0; t < tokens; t++)
            {
                y[(t * yStride) + row] += FloatGemv.BFloat16Rest(block.Data + (row * block.RowBytes), block.Whole, block.Columns, x + (t * xStride));
            }
        }
    }

    /// <summary>
    /// The activations of the tile that comes next, which lie in a farther cache: asked for in equal parts beside the rows of
    /// this one, into the second level, since the first is full.
    /// </summary>
    private readonly struct Ahead(float* x, long stride, int tokens, int columns, int rows)
    {
        private const int FloatsOfLine = 16;

        private readonly int _columnsOfRow = (((columns + FloatsOfLine - 1) / FloatsOfLine) + rows - 1) / rows * FloatsOfLine;

        public void Ask(int row)
        {
            for (int c = row * _columnsOfRow; c < Math.Min((row + 1) * _columnsOfRow, columns); c += FloatsOfLine)
            {
                for (int t = 0; t < tokens; t++)
                {
                    Prefetch.Line((byte*)(x + (t * stride) + c));
                }
            }
        }
    }

    /// <summary>Rows that are multiplied together, and the scratch for it.</summary>
    private readonly struct Block(in WeightMatrix weight, int firstRow, int rows, int whole, float* packed, float* sums)
    {
        public readonly byte* Data = weight.Data + (firstRow * weight.RowBytes);
        public readonly long RowBytes = weight.RowBytes;
        public readonly int Columns = weight.Columns;

        /// <summary>Columns of whole steps.</summary>
        public readonly int Whole = whole;
        public readonly int Rows = rows;

        /// <summary>(<see cref="MostTokens"/>, <see cref="PackedStride"/>).</summary>
        public readonly float* Packed = packed;

        /// <summary>By tile of tokens: (even or odd, rows, tokens) vectors.</summary>
        public readonly float* Sums = sums;
    }
}
