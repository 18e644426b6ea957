// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>What functions over stored INT4 rows have in common: they go by steps of 512 columns, 16 groups.</summary>
internal static class Int4StepCode
{
    public const int Vectors = 4;

    public const int LineBytes = 64;

    /// <summary>Packed weights of a step.</summary>
    public const int Bytes = Vectors * LineBytes;

    /// <summary>Its scales.</summary>
    public const int ScaleBytes = 32;

    /// <summary>
    /// Bytes ahead that weights and scales are asked for, into the second-level cache: requests to the first level hold its
    /// few miss buffers for as long as memory takes, and bind a core to half of its bandwidth.
    /// </summary>
    private const int PrefetchDistance = 6144;
    private const int ScalePrefetchDistance = 2048;

    /// <summary>Masks of lower nibbles, and 16-bit ones.</summary>
    public static void SetConstants(Assembler code, AssemblerRegisterZMM nibbles, AssemblerRegisterZMM ones, AssemblerRegister64 scratch)
    {
        code.mov(scratch.Lower(), 0x0F0F0F0F);
        code.vpbroadcastd(nibbles, scratch.Lower());
        code.mov(scratch.Lower(), 0x00010001);
        code.vpbroadcastd(ones, scratch.Lower());
    }

    /// <summary>Asks for what comes later, with each step.</summary>
    public static void Ask(Assembler code, AssemblerRegister64 data, AssemblerRegister64 scales, PrefetchStyle style)
    {
        if (style == PrefetchStyle.EveryPage)
        {
            PageCode.Ask(code, data, Bytes, Prefetch.PagesAhead);
            PageCode.Ask(code, scales, ScaleBytes, Prefetch.PageBytes);
            return;
        }

        code.prefetcht1(__byte_ptr[scales + ScalePrefetchDistance]);
        for (int line = 0; line < Bytes; line += LineBytes)
        {
            code.prefetcht1(__byte_ptr[data + (line + PrefetchDistance)]);
        }
    }

    /// <summary>With the mask of a quarter of a row's rest, as <see cref="Int4RestMasks.Load"/> leaves it: elements that are masked out are zero and are not read.</summary>
    public static AssemblerRegisterZMM Masked(AssemblerRegisterZMM register, int quarter) => quarter switch
    {
        0 => register.k1.z,
        1 => register.k2.z,
        2 => register.k3.z,
        _ => register.k4.z,
    };
}
