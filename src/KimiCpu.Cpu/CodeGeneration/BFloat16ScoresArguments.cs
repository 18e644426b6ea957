// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="BFloat16ScoresCode"/> read, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BFloat16ScoresArguments
{
    /// <summary>First key, any alignment. Moves on.</summary>
    public byte* Keys;
    public long KeyBytes;

    /// <summary>(pairs of columns, vectors, 16, 2) in BF16; the second number of an odd last column is zero.</summary>
    public ushort* Queries;

    /// <summary>Behind those of whole pairs.</summary>
    public ushort* QueriesEnd;

    /// <summary>1 where a column is left behind the pairs; else 0.</summary>
    public long OddColumns;

    /// <summary>(keys, <see cref="BFloat16ScoresCode.Lanes"/>). Moves on.</summary>
    public float* Scores;

    /// <summary>How often as many keys as the function takes are taken, one after another: at least once. Counts down.</summary>
    public long Tiles;
}
