// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="BFloat16PairsCode"/> read, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BFloat16PairsArguments
{
    /// <summary>A block of 64 columns: pairs of rows, 256 bytes each.</summary>
    public byte* Pairs;

    /// <summary>At least 1.</summary>
    public long PairCount;

    /// <summary>The first token's factors of the first pair: two numbers in BF16. Moves on.</summary>
    public ushort* Factors;

    /// <summary>From the factors of a pair to those of the next one.</summary>
    public long PairFactorsBytes;

    /// <summary>From a token's factors to those of the next one.</summary>
    public long TokenFactorsBytes;

    /// <summary>First token's sums of the 64 columns, read and written. Moves on.</summary>
    public float* Sums;
    public long SumsStrideBytes;

    /// <summary>How often as many tokens as the function takes are taken, one after another: at least once. Counts down.</summary>
    public long Tiles;

    /// <summary>What to ask for, by and by; never read. Moves on.</summary>
    public byte* Next;

    /// <summary>How far that moves with each pair; at most <see cref="BFloat16PairsCode.MostNextBytes"/>.</summary>
    public long NextBytes;
}
