// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What generated code is written for, where CPUs that can run it differ.</summary>
/// <param name="Style">How it asks for memory.</param>
/// <param name="HasGaloisField">Whether it may use GFNI, which splits off upper nibbles in one instruction, and makes a byte of an FP8 code's BF16 number in one (<see cref="Float8Bits"/>).</param>
/// <param name="HasSlowTables">Whether looking bytes up in a table of 128 (vpermi2b) takes three operations, as on Intel's processors, and not one or two.</param>
/// <param name="HasSlowBFloat16">Whether a dot product of BF16 (vdpbf16ps) takes as long as four multiply-adds, as on Intel's processors, where it stands for two.</param>
internal readonly record struct CodeTarget(PrefetchStyle Style, bool HasGaloisField, bool HasSlowTables, bool HasSlowBFloat16)
{
    /// <summary>This CPU.</summary>
    public static CodeTarget Current => new(CpuFeatures.PrefetchStyle, Gfni.V512.IsSupported, CpuFeatures.IsIntel, !CpuFeatures.HasFastBFloat16);
}
