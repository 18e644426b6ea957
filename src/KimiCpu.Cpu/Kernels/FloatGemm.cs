// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Weights in other formats than BF16 times several tokens, bound by the multiply-add units: a block of rows is decoded to floats once; then, for six
/// tokens at a time and a part of the columns whose activations stay in the first-level cache, four rows after four pass
/// by, their 24 sums in registers. Each sum is formed in exactly the order of <see cref="FloatGemv"/>.
/// </summary>
internal static unsafe class FloatGemm
{
    private const int Rows = 4;
    private const int WideTokens = 6;
    private const int NarrowTokens = 4;

    /// <summary>Columns of activations that stay in the first-level cache: 6 tokens x 4 KB.</summary>
    private const int ColumnPart = 1024;

    /// <summary>Bytes of decoded rows, which stay in the second-level cache.</summary>
    private const int DecodedBytes = 512 << 10;

    private const int MaxBlockRows = 32;

    [ThreadStatic]
    private static AlignedBuffer<float>? t_scratch;

    /// <summary>At least so many floats of the calling thread's own, valid until it asks again.</summary>
    public static float* Scratch(long floats) => (t_scratch ??= new AlignedBuffer<float>()).EnsureCapacity(floats);

    /// <summary>As <see cref="FloatGemv.Multiply(in WeightMatrix, int, int, float*, long, int, float*, long)"/>.</summary>
    public static void Multiply<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        System.Diagnostics.Debug.Assert(weight.Format != WeightFormat.BFloat16, "BFloat16Gemm multiplies those.");
        int columns = weight.Columns;
        int blockRows = Math.Clamp(DecodedBytes / (4 * columns) / Rows * Rows, Rows, MaxBlockRows);
        long sumsAt = ((long)blockRows * columns + 15) / 16 * 16;
        long packedAt = sumsAt + ((long)blockRows * 2 * WideTokens * TLanes.Count);
        float* decoded = Scratch(packedAt + (WideTokens * ColumnPart));
        int weights = Arrangement.WeightsOfElement(weight.Format);
        int step = Arrangement.Step<TLanes>(weight.Format);
        int vectors = columns / step * step;
        bool scaled = weight.Format == WeightFormat.Float8Block;
        for (int row = rowBegin, rows; row < rowEnd; row += rows)
        {
            rows = Math.Min(blockRows, rowEnd - row);
            byte* scales = null;
            if (scaled)
            {
                // Activations are scaled for rows that share their blocks.
                rows = Math.Min(rows, weight.BlockRows - (row % weight.BlockRows));
                scales = weight.Scales + (4L * (row / weight.BlockRows) * ((columns + weight.BlockColumns - 1) / weight.BlockColumns));
            }

            float* w = decoded;
            if (weight.Format == WeightFormat.Float32)
            {
                w = (float*)(weight.Data + (row * weight.RowBytes));
            }
            else
            {
                for (int i = 0; i < rows; i++)
                {
                    WeightDecoder.DecodeArranged<TLanes>(weight, row + i, decoded + ((long)i * columns));
                }
            }

            for (int t = 0; t < tokens;)
            {
                int left = tokens - t;
                int width = TLanes.Count == 16 && (left == WideTokens || left > 2 * NarrowTokens) ? WideTokens : NarrowTokens;
                int taken = Math.Min(width, left);
                var block = new RowBlock(w, columns, vectors, rows, weights, scales, weight.BlockColumns, decoded + packedAt);
                Block<TLanes>(block, x + (t * xStride), xStride, width, taken, decoded + sumsAt, y + (t * yStride) + row, yStride);
                t += taken;
            }
        }
    }

    private static void Block<TLanes>(in RowBlock block, float* x, long xStride, int width, int tokens, float* sums, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* w = block.Values;
        int columns = block.Columns;
        int vectors = block.Vectors;
        int rows = block.Rows;
        int sumsOfQuad = 2 * Rows * width * TLanes.Count;
        for (int first = 0; first == 0 || first < vectors; first += ColumnPart)
        {
            int count = Math.Min(ColumnPart, vectors - first);
            float* part = x + first;
            long partStride = xStride;
            if (block.Scales != null)
            {
                for (int t = 0; t < tokens; t++)
                {
                    float* target = block.Packed + (t * ColumnPart);
                    Arrangement.Scale(x + (t * xStride) + first, target, first, count, block.Scales, block.ScaleColumns);
                    Arrangement.Apply<TLanes>(target, target, count, block.WeightsOfElement);
                }

                part = block.Packed;
                partStride = ColumnPart;
            }

            for (int row = 0; row < rows; row += Rows)
            {
                float* target = sums + ((row / Rows) * (long)sumsOfQuad);
                var quad = new RowQuad(w + ((long)row * columns) + first, columns, Math.Min(Rows, rows - row));
                if (width == WideTokens)
                {
                    Tile6<TLanes>(quad, count, part, partStride, first > 0, target);
                }
                else
                {
                    Tile4<TLanes>(quad, count, part, partStride, tokens, first > 0, target);
                }
            }
        }

        for (int row = 0; row < rows; row += Rows)
        {
            Fold<TLanes>(sums + ((row / Rows) * (long)sumsOfQuad), width);
        }

        for (int row = 0; row < rows; row++)
        {
            float* folded = sums + ((row / Rows) * (long)sumsOfQuad) + (row % Rows * width);
            for (int t = 0; t < tokens; t++)
            {
                float rest = 0;
                for (int c = vectors; c < columns; c++)
                {
                    float scale = block.Scales == null ? 1 : Unsafe.ReadUnaligned<float>(block.Scales + (4L * (c / block.ScaleColumns)));
                    rest += w[((long)row * columns) + c] * (x[(t * xStride) + c] * scale);
                }

                y[(t * yStride) + row] = folded[t] + rest;
            }
        }
    }

    /// <summary>Even plus odd sums of a quad of rows, folded to one float each; (4 rows, tokens) in place of the first vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fold<TLanes>(float* sums, int width)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        const int Together = 8;
        int count = Rows * width;
        float* odd = sums + (count * TLanes.Count);
        for (int i = 0; i < count; i += Together)
        {
            for (int k = i; k < i + Together; k++)
            {
                float* even = sums + (k * TLanes.Count);
                TLanes.Store(TLanes.Add(TLanes.Load(even), TLanes.Load(odd + (k * TLanes.Count))), even);
            }

            // The floats land on vectors that are folded already.
            TLanes.Sum8(sums + (i * TLanes.Count), sums + i);
        }
    }

    /// <summary>Even vectors, then odd ones, so that 24 sums are enough; sums (even or odd, 4 rows, 6 tokens).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile6<TLanes>(RowQuad w, int columns, float* x, long xStride, bool add, float* sums)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int step = 2 * TLanes.Count;
        for (int chain = 0; chain < 2; chain++)
        {
            float* s = sums + (chain * Rows * WideTokens * TLanes.Count);
            TLanes a0 = Start<TLanes>(s, 0, add), a1 = Start<TLanes>(s, 1, add), a2 = Start<TLanes>(s, 2, add), a3 = Start<TLanes>(s, 3, add), a4 = Start<TLanes>(s, 4, add), a5 = Start<TLanes>(s, 5, add);
            TLanes b0 = Start<TLanes>(s, 6, add), b1 = Start<TLanes>(s, 7, add), b2 = Start<TLanes>(s, 8, add), b3 = Start<TLanes>(s, 9, add), b4 = Start<TLanes>(s, 10, add), b5 = Start<TLanes>(s, 11, add);
            TLanes c0 = Start<TLanes>(s, 12, add), c1 = Start<TLanes>(s, 13, add), c2 = Start<TLanes>(s, 14, add), c3 = Start<TLanes>(s, 15, add), c4 = Start<TLanes>(s, 16, add), c5 = Start<TLanes>(s, 17, add);
            TLanes d0 = Start<TLanes>(s, 18, add), d1 = Start<TLanes>(s, 19, add), d2 = Start<TLanes>(s, 20, add), d3 = Start<TLanes>(s, 21, add), d4 = Start<TLanes>(s, 22, add), d5 = Start<TLanes>(s, 23, add);
            float* wa = w.A + (chain * TLanes.Count);
            float* wb = w.B + (chain * TLanes.Count);
            float* wc = w.C + (chain * TLanes.Count);
            float* wd = w.D + (chain * TLanes.Count);
            float* x0 = x + (chain * TLanes.Count);
            float* x3 = x0 + (3 * xStride);
            for (int c = 0; c < columns; c += step)
            {
                TLanes va = TLanes.Load(wa + c);
                TLanes vb = TLanes.Load(wb + c);
                TLanes vc = TLanes.Load(wc + c);
                TLanes vd = TLanes.Load(wd + c);
                TLanes v = TLanes.Load(x0);
                a0 = TLanes.MultiplyAdd(va, v, a0);
                b0 = TLanes.MultiplyAdd(vb, v, b0);
                c0 = TLanes.MultiplyAdd(vc, v, c0);
                d0 = TLanes.MultiplyAdd(vd, v, d0);
                v = TLanes.Load(x0 + xStride);
                a1 = TLanes.MultiplyAdd(va, v, a1);
                b1 = TLanes.MultiplyAdd(vb, v, b1);
                c1 = TLanes.MultiplyAdd(vc, v, c1);
                d1 = TLanes.MultiplyAdd(vd, v, d1);
                v = TLanes.Load(x0 + (2 * xStride));
                a2 = TLanes.MultiplyAdd(va, v, a2);
                b2 = TLanes.MultiplyAdd(vb, v, b2);
                c2 = TLanes.MultiplyAdd(vc, v, c2);
                d2 = TLanes.MultiplyAdd(vd, v, d2);
                v = TLanes.Load(x3);
                a3 = TLanes.MultiplyAdd(va, v, a3);
                b3 = TLanes.MultiplyAdd(vb, v, b3);
                c3 = TLanes.MultiplyAdd(vc, v, c3);
                d3 = TLanes.MultiplyAdd(vd, v, d3);
                v = TLanes.Load(x3 + xStride);
                a4 = TLanes.MultiplyAdd(va, v, a4);
                b4 = TLanes.MultiplyAdd(vb, v, b4);
                c4 = TLanes.MultiplyAdd(vc, v, c4);
                d4 = TLanes.MultiplyAdd(vd, v, d4);
                v = TLanes.Load(x3 + (2 * xStride));
                a5 = TLanes.MultiplyAdd(va, v, a5);
                b5 = TLanes.MultiplyAdd(vb, v, b5);
                c5 = TLanes.MultiplyAdd(vc, v, c5);
                d5 = TLanes.MultiplyAdd(vd, v, d5);
                x0 += step;
                x3 += step;
            }

            TLanes.Store(a0, s + (0 * TLanes.Count));
            TLanes.Store(a1, s + (1 * TLanes.Count));
            TLanes.Store(a2, s + (2 * TLanes.Count));
            TLanes.Store(a3, s + (3 * TLanes.Count));
            TLanes.Store(a4, s + (4 * TLanes.Count));
            TLanes.Store(a5, s + (5 * TLanes.Count));
            TLanes.Store(b0, s + (6 * TLanes.Count));
            TLanes.Store(b1, s + (7 * TLanes.Count));
            TLanes.Store(b2, s + (8 * TLanes.Count));
            TLanes.Store(b3, s + (9 * TLanes.Count));
            TLanes.Store(b4, s + (10 * TLanes.Count));
            TLanes.Store(b5, s + (11 * TLanes.Count));
            TLanes.Store(c0, s + (12 * TLanes.Count));
            TLanes.Store(c1, s + (13 * TLanes.Count));
            TLanes.Store(c2, s + (14 * TLanes.Count));
            TLanes.Store(c3, s + (15 * TLanes.Count));
            TLanes.Store(c4, s + (16 * TLanes.Count));
            TLanes.Store(c5, s + (17 * TLanes.Count));
            TLanes.Store(d0, s + (18 * TLanes.Count));
            TLanes.Store(d1, s + (19 * TLanes.Count));
            TLanes.Store(d2, s + (20 * TLanes.Count));
            TLanes.Store(d3, s + (21 * TLanes.Count));
            TLanes.Store(d4, s + (22 * TLanes.Count));
            TLanes.Store(d5, s + (23 * TLanes.Count));
        }
    }

    /// <summary>Pairs of rows with four tokens (the last of fewer repeated); sums (even or odd, 4 rows, 4 tokens).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4<TLanes>(RowQuad w, int columns, float* x, long xStride, int tokens, bool add, float* sums)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int step = 2 * TLanes.Count;
        float* x1 = x + (Math.Min(1, tokens - 1) * xStride);
        float* x2 = x + (Math.Min(2, tokens - 1) * xStride);
        float* x3 = x + (Math.Min(3, tokens - 1) * xStride);
        for (int pass = 0; pass < 4; pass++)
        {
            int chain = pass >> 1;
            float* w0 = (pass & 1) == 0 ? w.A : w.C;
            float* w1 = (pass & 1) == 0 ? w.B : w.D;
            float* s = sums + (pass * 2 * NarrowTokens * TLanes.Count);
            TLanes a0 = Start<TLanes>(s, 0, add), a1 = Start<TLanes>(s, 1, add), a2 = Start<TLanes>(s, 2, add), a3 = Start<TLanes>(s, 3, add);
            TLanes b0 = Start<TLanes>(s, 4, add), b1 = Start<TLanes>(s, 5, add), b2 = Start<TLanes>(s, 6, add), b3 = Start<TLanes>(s, 7, add);
            for (int c = chain * TLanes.Count; c < columns; c += step)
            {
                TLanes wa = TLanes.Load(w0 + c);
                TLanes wb = TLanes.Load(w1 + c);
                TLanes v = TLanes.Load(x + c);
                a0 = TLanes.MultiplyAdd(wa, v, a0);
                b0 = TLanes.MultiplyAdd(wb, v, b0);
                v = TLanes.Load(x1 + c);
                a1 = TLanes.MultiplyAdd(wa, v, a1);
                b1 = TLanes.MultiplyAdd(wb, v, b1);
                v = TLanes.Load(x2 + c);
                a2 = TLanes.MultiplyAdd(wa, v, a2);
                b2 = TLanes.MultiplyAdd(wb, v, b2);
                v = TLanes.Load(x3 + c);
                a3 = TLanes.MultiplyAdd(wa, v, a3);
                b3 = TLanes.MultiplyAdd(wb, v, b3);
            }

            TLanes.Store(a0, s);
            TLanes.Store(a1, s + TLanes.Count);
            TLanes.Store(a2, s + (2 * TLanes.Count));
            TLanes.Store(a3, s + (3 * TLanes.Count));
            TLanes.Store(b0, s + (4 * TLanes.Count));
            TLanes.Store(b1, s + (5 * TLanes.Count));
            TLanes.Store(b2, s + (6 * TLanes.Count));
            TLanes.Store(b3, s + (7 * TLanes.Count));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Start<TLanes>(float* sums, int index, bool add)
        where TLanes : unmanaged, ILanes<TLanes> => add ? TLanes.Load(sums + (index * TLanes.Count)) : TLanes.Zero;

    /// <summary>Decoded rows of which whole steps are in the order of <see cref="Arrangement"/>, and room for activations in that order.</summary>
    private readonly struct RowBlock(float* values, int columns, int vectors, int rows, int weightsOfElement, byte* scales, int scaleColumns, float* packed)
    {
        public readonly float* Values = values;
        public readonly int Columns = columns;

        /// <summary>Columns of whole steps.</summary>
        public readonly int Vectors = vectors;
        public readonly int Rows = rows;
        public readonly int WeightsOfElement = weightsOfElement;

        /// <summary>Of each <see cref="ScaleColumns"/> columns, for all rows; null without.</summary>
        public readonly byte* Scales = scales;
        public readonly int ScaleColumns = scaleColumns;

        /// <summary>(<see cref="WideTokens"/>, <see cref="ColumnPart"/>).</summary>
        public readonly float* Packed = packed;
    }

    /// <summary>Four decoded rows; where there are fewer, the last stands for the missing ones.</summary>
    private readonly struct RowQuad(float* first, int columns, int rows)
    {
        public readonly float* A = first;
        public readonly float* B = first + ((long)Math.Min(1, rows - 1) * columns);
        public readonly float* C = first + ((long)Math.Min(2, rows - 1) * columns);
        public readonly float* D = first + ((long)Math.Min(3, rows - 1) * columns);
    }
}
