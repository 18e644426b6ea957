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

    /// <summary>Of <see cref="Int4TokensCode.BlockRows"/> rows; at least one.</summary>
    public long Blocks;

    /// <summary>A tile of <see cref="Tiles.StepTiles"/>.</summary>
    public byte* X;

    /// <summary>Whole steps of a row.</summary>
    public long Steps;

    /// <summary>What is left of each row behind them, and of its scales, padded with zeros to a step of 64 bytes and 8 bytes. Null where nothing is.</summary>
    public byte* Rest;
    public byte* RestScales;

    /// <summary>(<see cref="Int4TokensCode.SumBytes"/>) scratch, from a cache line on.</summary>
    public byte* Sums;
    public byte* SumsEnd;

    /// <summary>Where the lines begin that are asked for meanwhile, as many for each step as a whole one reads. They need not be there.</summary>
    public byte* Next;
    public byte* NextScales;

    /// <summary>Result of the first row and token.</summary>
    public float* Y;

    /// <summary>Bytes from token to token.</summary>
    public long YStride;

    /// <summary>Of the function itself, as are the next two: steps of this row that are to come.</summary>
    public long StepsLeft;

    /// <summary>Bytes from scales to scales where it reads them now.</summary>
    public long ScaleStride;

    /// <summary>Where the rest is that is to come; null behind it.</summary>
    public byte* RestLeft;
}
