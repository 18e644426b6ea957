// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What a function of <see cref="Int4TokensCode"/> takes. It counts on in it as it goes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Int4TokensArguments
{
    /// <summary>Packed rows of the first block, and their scales.</summary>
    public byte* Data;
    public byte* Scales;

    /// <summary>Bytes from row to row.</summary>
    public long RowBytes;
    public long ScaleRowBytes;

    /// <summary>Of 32 rows; at least one, and one where there is a rest.</summary>
    public long Blocks;

    /// <summary>The first of several <see cref="Tiles.StepTiles"/>, each of as many tokens as the function takes; how many, at least one, and bytes from one to the next.</summary>
    public byte* X;
    public long Tiles;
    public long TileBytes;

    /// <summary>Whole steps of a row.</summary>
    public long Steps;

    /// <summary>What is left of each row behind them, and of its scales, padded with zeros to a step of 64 bytes and 8 bytes. Null where nothing is.</summary>
    public byte* Rest;
    public byte* RestScales;

    /// <summary>(<see cref="Int4StepCode.Bytes"/>) scratch, from a cache line on.</summary>
    public byte* Unpacked;

    /// <summary>(tiles, <see cref="Int4TokensCode.SumBytes"/>) scratch, from a cache line on.</summary>
    public byte* Sums;

    /// <summary>Where the lines begin that are asked for meanwhile, as many for each step as a whole one reads. They need not be there.</summary>
    public byte* Next;
    public byte* NextScales;

    /// <summary>For each tile the result of its first row and token.</summary>
    public float** Y;

    /// <summary>Bytes from token to token.</summary>
    public long YStride;

    /// <summary>Of the function itself, as are those behind it: steps of this row that are to come.</summary>
    public long StepsLeft;

    /// <summary>Tiles and groups of the step that are to come.</summary>
    public long TilesLeft;
    public long GroupsLeft;

    /// <summary>Scales of the step, and bytes from row to row where they are read now.</summary>
    public byte* ScalesOfStep;
    public long ScaleStride;

    /// <summary>The first tile's activations and sums of the step.</summary>
    public byte* XOfStep;
    public byte* SumsOfStep;

    /// <summary>Where the rest is that is to come; null behind it.</summary>
    public byte* RestLeft;
}
