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

    /// <summary>(tokens, <see cref="BFloat16PairsCode.Rows"/>) factors in BF16.</summary>
    public ushort* Factors;

    /// <summary>First token's sums of the 64 columns, read and written.</summary>
    public float* Sums;
    public long SumsStrideBytes;
}
