// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the function of <see cref="BFloat16RowSumCode"/> reads, by offset, and overwrites.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BFloat16RowSumArguments
{
    /// <summary>The cache line in which the first row begins.</summary>
    public byte* Lines;

    /// <summary>A multiple of a line.</summary>
    public long RowBytes;

    /// <summary>Eight rows each; at least 1.</summary>
    public long Blocks;

    /// <summary>A BF16 number for each row.</summary>
    public ushort* Factors;

    /// <summary>32 sums for each line of a row, read and written; 64-byte aligned.</summary>
    public float* Sums;
    public float* SumsEnd;

    /// <summary>What is asked for while the last block is added; never read.</summary>
    public byte* Next;
}
