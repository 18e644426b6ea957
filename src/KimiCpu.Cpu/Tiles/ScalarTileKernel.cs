// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>The definition of a tile product; also what runs where there are no vectors.</summary>
internal sealed unsafe class ScalarTileKernel() : TileKernel(TileKernelKind.Scalar)
{
    public override int MaxTokens => 4;

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
    {
        new Span<float>(scratch, LaneSum.Lanes * tokens * WeightTile.Rows).Clear();
        for (int record = 0; record < LaneSum.Lanes * blocks; record++)
        {
            byte* w = weights + ((long)record * WeightTile.RecordBytes);
            byte* x = activations + (record * TileRecord.TokenBytes * tokens);
            float* sums = scratch + (record / blocks * tokens * WeightTile.Rows);
            for (int t = 0; t < tokens; t++)
            {
                for (int r = 0; r < WeightTile.Rows; r++)
                {
                    float weightScale = BFloat16.ToSingle(((ushort*)(w + WeightTile.ScalesAt))[r]);
                    ref float sum = ref sums[(t * WeightTile.Rows) + r];
                    sum = MathF.FusedMultiplyAdd(Dot(w, x, tokens, t, r), weightScale * TileRecord.Scale(x, tokens, t), sum);
                }
            }
        }

        TileFold.Fold(scratch, tokens, y, yStride);
    }

    private static int Dot(byte* record, byte* x, int tokens, int t, int r)
    {
        int dot = TileRecord.Correction(x, tokens, t);
        byte* w = record + (r / WeightTile.HalfRows * WeightTile.HalfBytes) + (r % WeightTile.HalfRows * 4);
        for (int c = 0; c < Int4Group32.GroupSize; c++)
        {
            dot += w[(c / 4 * WeightTile.VectorBytes) + (c % 4)] * (sbyte)x[(((c / 4 * tokens) + t) * 4) + (c % 4)];
        }

        return dot;
    }
}
