// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Ceilings of the arithmetic of kernels that run together. Code that is written at run time may use wider vectors than all else: on Cascade Lake and Cooper Lake
/// 512 bits beside 256.
/// </summary>
internal sealed class KernelCeilings
{
    /// <param name="pool">Computes.</param>
    /// <param name="kernel">Which products of bytes run.</param>
    public KernelCeilings(WorkerPool pool, TileKernel kernel)
    {
        Compiled = new ArithmeticProbe(pool, CpuFeatures.Best);
        Bytes = kernel.Vectors == Compiled.Vectors ? Compiled : new ArithmeticProbe(pool, kernel.Vectors);
    }

    /// <summary>Of what .NET compiles: attention, products of BF16 and FP8. (Code that is written for BF16 is taken only where .NET prefers vectors as wide.)</summary>
    public ArithmeticProbe Compiled { get; }

    /// <summary>Of products of INT4 and 8-bit weights; <see cref="Compiled"/> where vectors are as wide.</summary>
    public ArithmeticProbe Bytes { get; }
}
