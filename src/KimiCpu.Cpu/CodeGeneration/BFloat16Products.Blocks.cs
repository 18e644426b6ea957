// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Blocks of rows that stay in the second-level cache while tiles of tokens pass by.</summary>
internal sealed unsafe partial class BFloat16Products
{
    private const int BlockRows = WeightTile.Rows;

    /// <summary>
    /// The same with activations that are widened for all rows of a block, and that come from farther caches for each block: with 64 in place of 32 rows
    /// 512 tokens take a tenth less time on Emerald Rapids, with 96 no less.
    /// </summary>
    private const int WideBlockRows = 64;

    /// <summary>Half of a second-level cache of 2 MB.</summary>
    private const long WideBlockBytes = 1 << 20;

    /// <summary>Vectors of columns whose activations, for six tokens, stay in the first-level cache beside passing weights.</summary>
    private const int PartVectors = 48;

    /// <summary>The same of widened ones: 24 KB.</summary>
    private const int WidePartVectors = 32;

    private int RowsOfBlock(long rowBytes) => _widens ? (int)Math.Clamp(WideBlockBytes / rowBytes / BFloat16Code.Rows * BFloat16Code.Rows, BlockRows, WideBlockRows) : BlockRows;

    /// <summary>What follows is asked for by and by, while rows meet one tile of tokens after another.</summary>
    private void Block(in WeightMatrix weight, byte* data, int rows, BFloat16Tiles x, float* y, long yStride, byte* next, long nextBytes)
    {
        byte* end = next + nextBytes;
        for (int first = 0; first < x.Tokens;)
        {
            int tokens = Tiles.Next(x.Tokens - first);
            Tile(weight, data, rows, x.Tile(first), tokens, next < end ? next : data, y + (first * yStride), yStride);
            next += (rows + BFloat16Code.Rows - 1) / BFloat16Code.Rows * 2 * weight.RowBytes;
            first += tokens;
        }

        // The pages live as long as the owner, which the running call keeps.
        GC.KeepAlive(_code);
    }

    /// <summary>Rows of a block with a tile of tokens: parts of the columns for which its activations stay in the first-level cache.</summary>
    private void Tile(in WeightMatrix weight, byte* data, int rows, byte* x, int tokens, byte* next, float* y, long yStride)
    {
        int pairs = rows * tokens;
        int partVectors = _widens ? WidePartVectors : PartVectors;
        long sumFloats = (long)(pairs + Together) * LaneSum.Lanes;
        float* sums = FloatGemm.Scratch(sumFloats + (_widens ? (long)(partVectors + 1) * tokens * VectorColumns : 0));
        float* wide = sums + sumFloats;
        int vectors = weight.Columns / VectorColumns;
        int parts = Math.Max(1, (vectors + partVectors - 1) / partVectors);
        for (int part = 0; part < parts; part++)
        {
            int begin = (int)((long)vectors * part / parts);
            int end = (int)((long)vectors * (part + 1) / parts);
            var arguments = new BFloat16Arguments
            {
                RowBytes = weight.RowBytes,
                X = x + ((long)begin * tokens * VectorBytes),
                XEnd = x + ((long)end * tokens * VectorBytes),
                RestMask = part == parts - 1 ? RestMask(weight.Columns) : 0,
                Continues = part,
            };
            if (_widens)
            {
                long count = (long)(end - begin) * tokens;
                BFloat16Widening.Widen((ushort*)arguments.X, count + (arguments.RestMask > 0 ? tokens : 0), wide);
                arguments.X = (byte*)wide;
                arguments.XEnd = (byte*)(wide + (count * VectorColumns));
            }

            for (int row = 0, taken; row < rows; row += taken)
            {
                taken = rows - row >= BFloat16Code.Rows ? BFloat16Code.Rows : 1;
                arguments.Weights = data + (row * weight.RowBytes) + ((long)begin * VectorBytes);
                arguments.Sums = sums + ((long)row * tokens * LaneSum.Lanes);
                arguments.Next = next;
                (taken == 1 ? _oneRow[tokens] : _rows[tokens])(&arguments);
                next += (end - begin) * 2 * VectorBytes;
            }
        }

        Fold(sums, pairs);
        for (int row = 0, taken; row < rows; row += taken)
        {
            taken = rows - row >= BFloat16Code.Rows ? BFloat16Code.Rows : 1;
            float* folded = sums + (row * tokens);
            for (int t = 0; t < tokens; t++, folded += taken)
            {
                float* target = y + (t * yStride) + row;
                if (taken == BFloat16Code.Rows)
                {
                    Vector128.Load(folded).Store(target);
                }
                else
                {
                    *target = *folded;
                }
            }
        }
    }

    /// <summary>Vectors to floats, which land on vectors that are folded already.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fold(float* sums, int count)
    {
        for (int i = 0; i < count; i += Together)
        {
            Lanes512.Sum8(sums + (i * LaneSum.Lanes), sums + i);
        }
    }
}
