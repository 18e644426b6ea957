// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="Int4TokensCode"/> read, by offset. They count <see cref="Rows"/> down and move <see cref="Data"/> on.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int4TokensArguments
{
    public byte* Data;
    public long RowBytes;
    public byte* Scales;

    /// <summary>Of <see cref="StepTiles"/>, and where the whole steps end.</summary>
    public byte* X;
    public byte* XEnd;

    /// <summary>(rows, <see cref="Int4TokensCode.MostTokens"/>).</summary>
    public float* Y;
    public long Rows;

    /// <summary>Bytes of scales of a row behind its whole steps; not 0 where a step follows that the row fills in part.</summary>
    public long RestScaleBytes;

    public Int4RestMasks Rest;

    /// <summary>At least one row.</summary>
    public Int4TokensArguments(in WeightMatrix weight, int rowBegin, int rowEnd, byte* tile, int tokens, float* y)
    {
        int whole = weight.Columns / (LaneSum.Lanes * Int4Group32.GroupSize);
        RowBytes = Int4Group32.RowBytes(weight.Columns);
        Data = weight.Data + (rowBegin * RowBytes);
        Scales = weight.Scales + (sizeof(ushort) * (long)rowBegin * Int4Group32.GroupsPerRow(weight.Columns));
        X = tile;
        XEnd = tile + ((long)whole * tokens * StepTiles.TokenBytes);
        Y = y;
        Rows = rowEnd - rowBegin;
        Rest = new Int4RestMasks(weight.Columns, whole);
        RestScaleBytes = Rest.ScaleBytes;
    }
}
