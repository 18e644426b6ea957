// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// FP8 codes as BF16 numbers without tables, for CPUs that take three operations to look a byte up. The exponent e of a normal code becomes e + 120, whose
/// bits are e3, not e3 four times, e2, e1 and e0: each of both bytes is one product with a matrix of bits. That is not so for subnormal codes and NaN,
/// which are looked for and left to the tables.
/// </summary>
/// <param name="Upper">Matrix that makes upper bytes.</param>
/// <param name="Lower">Matrix that makes lower bytes.</param>
/// <param name="Order">Matrix that ranks codes.</param>
/// <param name="FirstOther">In each byte the rank from which codes are not normal.</param>
/// <param name="Highest">Highest ranks so far.</param>
internal readonly record struct Float8Bits(AssemblerRegisterZMM Upper, AssemblerRegisterZMM Lower, AssemblerRegisterZMM Order, AssemblerRegisterZMM FirstOther, AssemblerRegisterZMM Highest)
{
    /// <summary>Bits 7 … 0: 7, 6, 6, 6, 6, 6, 5, 4 of a code.</summary>
    private const ulong UpperMatrix = 0x10204040_40404080;

    /// <summary>What turns bits of the exponent that are copies of its highest one.</summary>
    private const byte UpperTurned = 0b0011_1100;

    /// <summary>Bits 7 … 4: 3, 2, 1, 0 of a code; the others 0.</summary>
    private const ulong LowerMatrix = 0x00000000_01020408;

    /// <summary>Bits 6 … 0: 6 ^ 3, 5 ^ 3, 4 ^ 3, 3, 2, 1, 0 of a code; the sign is left out.</summary>
    private const ulong OrderMatrix = 0x01020408_18284800;

    /// <summary>With these turned, subnormal codes and zeros rank 120 … 127, NaN 119, and each other code below.</summary>
    private const byte OrderTurned = 0b0111_1000;

    private const int RankOfNaN = 119;
    private const byte NotLess = 5;

    public static Float8Bits Take(Queue<AssemblerRegisterZMM> registers) =>
        new(registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), registers.Dequeue());

    /// <summary>Fills the registers.</summary>
    public void Load(Assembler code, AssemblerRegister64 scratch)
    {
        foreach ((AssemblerRegisterZMM register, ulong value) in new[] { (Upper, UpperMatrix), (Lower, LowerMatrix), (Order, OrderMatrix), (FirstOther, RankOfNaN * 0x01010101_01010101UL) })
        {
            code.mov(scratch, value);
            code.vpbroadcastq(register, scratch);
        }
    }

    /// <summary>Ranks codes beside those since the first.</summary>
    public void Rank(Assembler code, AssemblerRegisterZMM codes, bool first, AssemblerRegisterZMM spare)
    {
        code.vgf2p8affineqb(first ? Highest : spare, codes, Order, OrderTurned);
        if (!first)
        {
            code.vpmaxub(Highest, Highest, spare);
        }
    }

    /// <summary>Jumps if any of the ranked codes is not normal.</summary>
    public void JumpIfAnyOther(Assembler code, Label target)
    {
        code.vpcmpub(k2, Highest, FirstOther, NotLess);
        code.kortestq(k2, k2);
        code.jnz(target);
    }

    /// <summary>Both bytes of normal codes' numbers.</summary>
    public void Decode(Assembler code, AssemblerRegisterZMM codes, AssemblerRegisterZMM low, AssemblerRegisterZMM high)
    {
        code.vgf2p8affineqb(low, codes, Lower, 0);
        code.vgf2p8affineqb(high, codes, Upper, UpperTurned);
    }
}
