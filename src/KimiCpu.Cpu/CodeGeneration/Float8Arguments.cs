// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="Float8Code"/> read, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Float8Arguments
{
    /// <summary>First row of the weights; any alignment.</summary>
    public byte* Weights;

    /// <summary>From each row to the next that is multiplied together with it.</summary>
    public long RowBytes;

    /// <summary>Two vectors of activations for each step, as <see cref="Float8ActivationsCode"/> orders them.</summary>
    public byte* X;

    /// <summary>Where the activations of whole steps end.</summary>
    public byte* XEnd;

    /// <summary>Which of the 64 codes behind the whole steps there are; 0 for none.</summary>
    public ulong RestMask;

    /// <summary>(rows) vectors of 16 sums.</summary>
    public float* Sums;

    /// <summary><see cref="Kernels.Float8Codes.Tables"/>.</summary>
    public byte* Tables;
}
