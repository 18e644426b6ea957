// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What generated code is written for, where CPUs that can run it differ.</summary>
/// <param name="Style">How it asks for memory.</param>
/// <param name="HasGaloisField">Whether it may use GFNI, which splits off upper nibbles in one instruction.</param>
/// <param name="HasSlowTables">Whether looking bytes up in a table of 128 (vpermi2b) takes three operations, as on Intel's processors, and not one or two.</param>
internal readonly record struct CodeTarget(PrefetchStyle Style, bool HasGaloisField, bool HasSlowTables)
{
    /// <summary>This CPU.</summary>
    public static CodeTarget Current => new(CpuFeatures.PrefetchStyle, Gfni.V512.IsSupported, CpuFeatures.IsIntel);
}
