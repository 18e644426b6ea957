// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What the functions of <see cref="BFloat16Code"/> read, by offset.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BFloat16Arguments
{
    /// <summary>First row of the weights, at the first column to multiply; any alignment.</summary>
    public byte* Weights;
    public long RowBytes;

    /// <summary>Vectors of activations, those of all tokens for the same columns side by side; in single precision for some functions (<see cref="BFloat16Code.TakesSingles"/>).</summary>
    public byte* X;

    /// <summary>Where the activations of whole vectors of weights end.</summary>
    public byte* XEnd;

    /// <summary>Which of the 32 weights behind the whole vectors there are; 0 for none.</summary>
    public ulong RestMask;

    /// <summary>(tokens, rows) vectors of 16 sums.</summary>
    public float* Sums;

    /// <summary>Not 0 where the sums go on from what <see cref="Sums"/> holds.</summary>
    public long Continues;

    /// <summary>What to ask for, <see cref="BFloat16Code.LinesOfStep"/> lines a step of several tokens; never read.</summary>
    public byte* Next;

    /// <summary>Is overwritten: how multiply-adds round and what they flush, before and meanwhile.</summary>
    public uint ControlBefore;
    public uint Control;
}
