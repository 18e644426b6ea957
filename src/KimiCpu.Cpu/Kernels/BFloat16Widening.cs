// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace KimiCpu.Cpu.Kernels;

/// <summary>BF16 activations to single precision, in the order in which multiply-adds meet them.</summary>
internal static unsafe class BFloat16Widening
{
    /// <summary>BF16 numbers of a vector.</summary>
    public const int Columns = 32;

    /// <summary>Each vector of 32 columns to its 16 odd ones, then its 16 even ones.</summary>
    /// <param name="source">(vectors, 32) in BF16.</param>
    /// <param name="vectors">How many.</param>
    /// <param name="target">(vectors, 2, 16).</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ushort* source, long vectors, float* target)
    {
        const int HalfBits = 16;
        Vector512<uint> upperHalves = Vector512.Create(0xFFFF0000u);
        for (ushort* end = source + (vectors * Columns); source < end; source += Columns, target += Columns)
        {
            Vector512<uint> pairs = Vector512.Load((uint*)source);
            (pairs & upperHalves).Store((uint*)target);
            (pairs << HalfBits).Store((uint*)target + Vector512<uint>.Count);
        }
    }
}
