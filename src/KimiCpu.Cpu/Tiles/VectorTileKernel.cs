// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>Rows of a tile side by side in a vector of int32 sums.</summary>
internal unsafe interface ITileLanes
{
    /// <summary>Rows of a vector; divides 16.</summary>
    static abstract int Count { get; }

    /// <summary>
    /// sums += (correction + Σ over the group of weight times activation) * (weight scale * activation scale), for rows
    /// <paramref name="row"/> … row + Count - 1 of a half.
    /// </summary>
    /// <param name="weights">The half's record.</param>
    /// <param name="bits8">Whether elements exceed 15.</param>
    /// <param name="row">First row.</param>
    /// <param name="scales">The half's scales.</param>
    /// <param name="x">The token's first four values; the next follow after <paramref name="xStride"/> bytes.</param>
    /// <param name="xStride">Bytes.</param>
    /// <param name="sums">(Count) floats.</param>
    static abstract void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums);
}

/// <summary>A tile product with the vectors that .NET offers.</summary>
internal sealed unsafe class VectorTileKernel<TLanes>(TileKernelKind kind) : TileKernel(kind)
    where TLanes : ITileLanes
{
    public override int MaxTokens => 6;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* lanes, byte* prefetch)
    {
        new Span<float>(lanes, LaneSum.Lanes * tokens * WeightTile.Rows).Clear();
        for (int lane = 0; lane < LaneSum.Lanes; lane++)
        {
            float* sums = lanes + (lane * tokens * WeightTile.Rows);
            for (int b = 0; b < blocks; b++)
            {
                int record = (lane * blocks) + b;
                byte* w = weights + ((long)record * WeightTile.RecordBytes);
                byte* x = activations + (record * TileRecord.TokenBytes * tokens);
                for (int half = 0; half < 2; half++)
                {
                    ushort* scales = (ushort*)(w + WeightTile.ScalesAt) + (half * WeightTile.HalfRows);
                    for (int row = 0; row < WeightTile.HalfRows; row += TLanes.Count)
                    {
                        for (int t = 0; t < tokens; t++)
                        {
                            float* target = sums + (t * WeightTile.Rows) + (half * WeightTile.HalfRows) + row;
                            TLanes.Accumulate(w + (half * WeightTile.HalfBytes), bits8, row, scales, x + (4 * t), 4 * tokens, target);
                        }
                    }
                }
            }
        }
    }
}
