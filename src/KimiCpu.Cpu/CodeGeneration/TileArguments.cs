// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="TileCode"/> read, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileArguments
{
    /// <summary>A <see cref="WeightTile"/>.</summary>
    public byte* Weights;

    /// <summary>A tile of as many tokens as the function takes.</summary>
    public byte* Activations;

    /// <summary>(16 lanes, tokens, 32 rows) of scratch.</summary>
    public float* Lanes;

    /// <summary>Groups of a lane; at least 1.</summary>
    public long Blocks;

    /// <summary>What functions of several tokens ask for; never read.</summary>
    public byte* Next;

    /// <summary>So much of it with each group: <see cref="TileAhead.FewLines"/>, or else <see cref="TileAhead.ManyLines"/>.</summary>
    public long BytesOfGroup;

    /// <summary>The first token's 32 sums.</summary>
    public float* Y;

    /// <summary>From a token's sums to those of the next one.</summary>
    public long YStrideBytes;
}
