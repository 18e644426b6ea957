// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>A tile product with vectors of 128 bits.</summary>
internal sealed unsafe class Vector128TileKernel() : TileKernel(TileKernelKind.Vector128)
{
    public override int MaxTokens => 6;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
    {
        new Span<float>(scratch, LaneSum.Lanes * tokens * WeightTile.Rows).Clear();
        for (int lane = 0; lane < LaneSum.Lanes; lane++)
        {
            float* sums = scratch + (lane * tokens * WeightTile.Rows);
            for (int b = 0; b < blocks; b++)
            {
                int record = (lane * blocks) + b;
                byte* w = weights + ((long)record * WeightTile.RecordBytes);
                byte* x = activations + (record * TileRecord.TokenBytes * tokens);
                for (int half = 0; half < 2; half++)
                {
                    ushort* scales = (ushort*)(w + WeightTile.ScalesAt) + (half * WeightTile.HalfRows);
                    for (int row = 0; row < WeightTile.HalfRows; row += Vector128<int>.Count)
                    {
                        for (int t = 0; t < tokens; t++)
                        {
                            float* target = sums + (t * WeightTile.Rows) + (half * WeightTile.HalfRows) + row;
                            Accumulate(w + (half * WeightTile.HalfBytes), bits8, row, scales, x + (4 * t), 4 * tokens, target);
                        }
                    }
                }
            }
        }

        TileFold.Fold(scratch, tokens, y, yStride);
    }

    /// <summary>
    /// sums += (correction + Σ over the group of weight times activation) * (weight scale * activation scale), for rows
    /// <paramref name="row"/> … row + 3 of a half. With Arm64's dot product the unsigned elements are made signed by taking off 128, which one
    /// more dot product with ones makes good; elsewhere products are widened.
    /// </summary>
    /// <param name="weights">The half's record.</param>
    /// <param name="bits8">Whether elements exceed 15.</param>
    /// <param name="row">First row.</param>
    /// <param name="scales">The half's scales.</param>
    /// <param name="x">The token's first four values; the next follow after <paramref name="xStride"/> bytes.</param>
    /// <param name="xStride">Bytes.</param>
    /// <param name="sums">(4) floats.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(byte* weights, bool bits8, int row, ushort* scales, byte* x, int xStride, float* sums)
    {
        Vector128<int> dot = Vector128.Create(((int*)(x + (9 * xStride)))[0]);
        Vector128<int> sum = Vector128<int>.Zero;
        for (int q = 0; q < 8; q++)
        {
            Vector128<byte> w = Vector128.Load(weights + (4 * row) + (q * WeightTile.VectorBytes));
            Vector128<sbyte> value = Vector128.Create(((int*)(x + (q * xStride)))[0]).AsSByte();
            if (Dp.IsSupported)
            {
                if (bits8)
                {
                    w ^= Vector128.Create((byte)0x80);
                    sum = Dp.DotProduct(sum, Vector128<sbyte>.One, value);
                }

                dot = Dp.DotProduct(dot, w.AsSByte(), value);
            }
            else
            {
                dot += Dot4(w, value);
            }
        }

        dot += sum << 7;
        Vector128<float> scale = (Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<double>(scales + row)).AsUInt16()) << 16).AsSingle() * ((float*)(x + (8 * xStride)))[0];
        FusedMultiplyAdd.Of(Vector128.ConvertToSingle(dot), scale, Vector128.Load(sums)).Store(sums);
    }

    /// <summary>Lane i: the sum of the four products of its bytes, each taken from its place in the 32 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Dot4(Vector128<byte> w, Vector128<sbyte> x)
    {
        Vector128<int> wi = w.AsInt32();
        Vector128<int> xi = x.AsInt32();
        Vector128<int> mask = Vector128.Create(255);
        Vector128<int> sum = (wi & mask) * (xi << 24 >> 24);
        sum += (wi >> 8 & mask) * (xi << 16 >> 24);
        sum += (wi >> 16 & mask) * (xi << 8 >> 24);
        return sum + ((wi >>> 24) * (xi >> 24));
    }
}
