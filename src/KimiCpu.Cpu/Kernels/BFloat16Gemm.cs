// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// BF16 weights times several tokens with AVX2: weights are widened in registers, a shift and a mask
/// for 2 x 6 multiply-adds with activations from the first-level cache, so nothing is decoded to memory first. A part of
/// the columns of up to 64 rows stays in the second-level cache while tokens pass by, six at a time. Each sum is formed in
/// exactly the order of <see cref="FloatGemv"/>.
/// </summary>
internal static unsafe class BFloat16Gemm
{
    private const int Width = 8;

    /// <summary>Columns of a vector of weights.</summary>
    private const int Step = 2 * Width;

    private const int MostTokens = 6;

    /// <summary>Most tokens for which two rows' sums fit into registers.</summary>
    private const int FewTokens = 3;

    /// <summary>Columns of activations that stay in the first-level cache: 6 tokens x 4 KB.</summary>
    private const int ColumnPart = 1024;

    /// <summary>Not a power of two, which would bring all tokens to the same places of the cache.</summary>
    private const int PackedStride = ColumnPart + 16;

    private const int BlockRows = 64;

    /// <summary>Tokens whose sums for all rows of a block stay in the second-level cache: 192 KB.</summary>
    private const int BlockTokens = 48;

    /// <summary>As <see cref="FloatGemv.Multiply(in WeightMatrix, int, int, float*, long, int, float*, long)"/>.</summary>
    public static void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
    {
        int whole = weight.Columns / Step * Step;
        const int PackedFloats = MostTokens * PackedStride;
        float* packed = FloatGemm.Scratch(PackedFloats + ((long)Step * BlockRows * BlockTokens));
        for (int row = rowBegin; row < rowEnd; row += BlockRows)
        {
            int rows = Math.Min(BlockRows, rowEnd - row);
            for (int t = 0; t < tokens; t += BlockTokens)
            {
                var block = new Block(weight, row, rows, whole, packed, packed + PackedFloats);
                int count = Math.Min(BlockTokens, tokens - t);
                for (int first = 0; first == 0 || first < whole; first += ColumnPart)
                {
                    Part(block, first, Math.Min(ColumnPart, whole - first), x + (t * xStride), xStride, count);
                }

                Fold(block, x + (t * xStride), xStride, count, y + (t * yStride) + row, yStride);
            }
        }
    }

    /// <summary>Adds the products of some columns to the sums of all rows and tokens of a block.</summary>
    private static void Part(in Block block, int first, int columns, float* x, long xStride, int tokens)
    {
        float* sums = block.Sums;
        byte* data = block.Data + (2L * first);
        for (int t = 0; t < tokens;)
        {
            int count = new TokenTiles(MostTokens).Next(tokens - t);
            for (int i = 0; i < count; i++)
            {
                Arrangement.Apply<Lanes256>(x + ((t + i) * xStride) + first, block.Packed + (i * PackedStride), columns, 2);
            }

            switch (count)
            {
                case 1:
                    Rows<OneToken>(block, data, columns, first > 0, sums);
                    break;
                case 2:
                    Rows<TwoTokens>(block, data, columns, first > 0, sums);
                    break;
                case 3:
                    Rows<ThreeTokens>(block, data, columns, first > 0, sums);
                    break;
                case 4:
                    Rows<FourTokens>(block, data, columns, first > 0, sums);
                    break;
                case 5:
                    Rows<FiveTokens>(block, data, columns, first > 0, sums);
                    break;
                default:
                    Rows<SixTokens>(block, data, columns, first > 0, sums);
                    break;
            }

            sums += 2 * block.Rows * count * Width;
            t += count;
        }
    }

    /// <summary>All rows with the tokens of a tile; sums (even or odd, rows, tokens).</summary>
    private static void Rows<TTokens>(in Block block, byte* data, int columns, bool add, float* sums)
        where TTokens : ITokenCount
    {
        int row = 0;
        int rowSums = TTokens.Count * Width;
        long odd = (long)block.Rows * rowSums;
        for (; TTokens.Count <= FewTokens && row + 2 <= block.Rows; row += 2)
        {
            TwoRows<TTokens>(data + (row * block.RowBytes), block.RowBytes, columns, block.Packed, add, sums + (row * rowSums), odd);
        }

        for (; row < block.Rows; row++)
        {
            OneRow<TTokens>(data + (row * block.RowBytes), block.RowBytes, columns, block.Packed, add, sums + (row * rowSums), odd);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow<TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        Vector256<float> even0 = Start<TTokens>(sums, 0, add), odd0 = Start<TTokens>(others, 0, add);
        Vector256<float> even1 = Start<TTokens>(sums, 1, add), odd1 = Start<TTokens>(others, 1, add);
        Vector256<float> even2 = Start<TTokens>(sums, 2, add), odd2 = Start<TTokens>(others, 2, add);
        Vector256<float> even3 = Start<TTokens>(sums, 3, add), odd3 = Start<TTokens>(others, 3, add);
        Vector256<float> even4 = Start<TTokens>(sums, 4, add), odd4 = Start<TTokens>(others, 4, add);
        Vector256<float> even5 = Start<TTokens>(sums, 5, add), odd5 = Start<TTokens>(others, 5, add);
        for (; x < end; x += 2 * Width, data += 4 * Width)
        {
            FloatGemv.Ask(data + rowBytes);
            Vector256<uint> bits = Vector256.Load((uint*)data);
            Vector256<float> w = Even(bits);
            Add<TTokens>(0, w, x, ref even0);
            Add<TTokens>(1, w, x, ref even1);
            Add<TTokens>(2, w, x, ref even2);
            Add<TTokens>(3, w, x, ref even3);
            Add<TTokens>(4, w, x, ref even4);
            Add<TTokens>(5, w, x, ref even5);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref odd0);
            Add<TTokens>(1, w, x + Width, ref odd1);
            Add<TTokens>(2, w, x + Width, ref odd2);
            Add<TTokens>(3, w, x + Width, ref odd3);
            Add<TTokens>(4, w, x + Width, ref odd4);
            Add<TTokens>(5, w, x + Width, ref odd5);
        }

        Store<TTokens>(sums, others, 0, even0, odd0);
        Store<TTokens>(sums, others, 1, even1, odd1);
        Store<TTokens>(sums, others, 2, even2, odd2);
        Store<TTokens>(sums, others, 3, even3, odd3);
        Store<TTokens>(sums, others, 4, even4, odd4);
        Store<TTokens>(sums, others, 5, even5, odd5);
    }

    /// <summary>Up to three tokens: one row's sums would be too few to hide the latency of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void TwoRows<TTokens>(byte* data, long rowBytes, int columns, float* x, bool add, float* sums, long odd)
        where TTokens : ITokenCount
    {
        float* end = x + columns;
        float* others = sums + odd;
        float* sumsB = sums + (TTokens.Count * Width);
        float* othersB = others + (TTokens.Count * Width);
        Vector256<float> even0 = Start<TTokens>(sums, 0, add), odd0 = Start<TTokens>(others, 0, add);
        Vector256<float> even1 = Start<TTokens>(sums, 1, add), odd1 = Start<TTokens>(others, 1, add);
        Vector256<float> even2 = Start<TTokens>(sums, 2, add), odd2 = Start<TTokens>(others, 2, add);
        Vector256<float> evenB0 = Start<TTokens>(sumsB, 0, add), oddB0 = Start<TTokens>(othersB, 0, add);
        Vector256<float> evenB1 = Start<TTokens>(sumsB, 1, add), oddB1 = Start<TTokens>(othersB, 1, add);
        Vector256<float> evenB2 = Start<TTokens>(sumsB, 2, add), oddB2 = Start<TTokens>(othersB, 2, add);
        byte* next = data + (2 * rowBytes);
        for (; x < end; x += 2 * Width, data += 4 * Width, next += 4 * Width)
        {
            FloatGemv.Ask(next);
            FloatGemv.Ask(next + rowBytes);
            Vector256<uint> bits = Vector256.Load((uint*)data);
            Vector256<float> w = Even(bits);
            Add<TTokens>(0, w, x, ref even0);
            Add<TTokens>(1, w, x, ref even1);
            Add<TTokens>(2, w, x, ref even2);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref odd0);
            Add<TTokens>(1, w, x + Width, ref odd1);
            Add<TTokens>(2, w, x + Width, ref odd2);
            bits = Vector256.Load((uint*)(data + rowBytes));
            w = Even(bits);
            Add<TTokens>(0, w, x, ref evenB0);
            Add<TTokens>(1, w, x, ref evenB1);
            Add<TTokens>(2, w, x, ref evenB2);
            w = Odd(bits);
            Add<TTokens>(0, w, x + Width, ref oddB0);
            Add<TTokens>(1, w, x + Width, ref oddB1);
            Add<TTokens>(2, w, x + Width, ref oddB2);
        }

        Store<TTokens>(sums, others, 0, even0, odd0);
        Store<TTokens>(sums, others, 1, even1, odd1);
        Store<TTokens>(sums, others, 2, even2, odd2);
        Store<TTokens>(sumsB, othersB, 0, evenB0, oddB0);
        Store<TTokens>(sumsB, othersB, 1, evenB1, oddB1);
        Store<TTokens>(sumsB, othersB, 2, evenB2, oddB2);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Even(Vector256<uint> bits) => (bits << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Odd(Vector256<uint> bits) => (bits & Vector256.Create(0xFFFF0000u)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Start<TTokens>(float* sums, int token, bool add)
        where TTokens : ITokenCount => token < TTokens.Count && add ? Vector256.Load(sums + (token * Width)) : Vector256<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, Vector256<float> w, float* x, ref Vector256<float> sum)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            sum = Fma.MultiplyAdd(w, Vector256.Load(x + (token * PackedStride)), sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TTokens>(float* sums, float* others, int token, Vector256<float> even, Vector256<float> odd)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            even.Store(sums + (token * Width));
            odd.Store(others + (token * Width));
        }
    }

    /// <summary>Even plus odd sums, folded, and the columns behind the whole steps.</summary>
    private static void Fold(in Block block, float* x, long xStride, int tokens, float* y, long yStride)
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
                    float* even = sums + (k * Width);
                    (Vector256.Load(even) + Vector256.Load(even + (vectors * Width))).Store(even);
                }

                // The floats land on vectors that are folded already.
                Lanes256.Sum8(sums + (i * Width), sums + i);
            }

            for (int row = 0; row < block.Rows; row++)
            {
                for (int i = 0; i < count; i++)
                {
                    y[((t + i) * yStride) + row] = sums[(row * count) + i];
                }
            }

            sums += 2 * vectors * Width;
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
