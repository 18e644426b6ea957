// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the function of <see cref="Float8ActivationsCode"/> reads, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Float8ActivationsArguments
{
    public float* X;

    /// <summary>One for each block; any alignment.</summary>
    public byte* Scales;

    /// <summary>At least 1; counted down.</summary>
    public long Blocks;

    /// <summary>Steps of 64 columns in a block; at least 1.</summary>
    public long StepsOfBlock;

    /// <summary>Receives two vectors for each step.</summary>
    public byte* Target;

    /// <summary>Bytes from vector to vector.</summary>
    public long TargetStride;
}
