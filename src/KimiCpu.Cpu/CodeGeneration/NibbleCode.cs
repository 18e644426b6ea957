// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Writes how packed bytes are split into nibbles, with what that needs in registers.</summary>
/// <param name="Mask">15 in each byte.</param>
/// <param name="UpperToLower">Matrix for vgf2p8affineqb; null where two instructions take its place.</param>
internal readonly record struct NibbleCode(AssemblerRegisterZMM Mask, AssemblerRegisterZMM? UpperToLower)
{
    /// <summary>Matrix of bits that moves bits 4 … 7 of each byte to 0 … 3, and nothing else.</summary>
    private const ulong UpperToLowerNibbles = 0x10204080_00000000;

    /// <summary>Takes the registers that a target needs.</summary>
    public static NibbleCode Take(Queue<AssemblerRegisterZMM> registers, CodeTarget target) =>
        new(registers.Dequeue(), target.HasGaloisField ? registers.Dequeue() : null);

    /// <summary>Fills the registers.</summary>
    public void Load(Assembler code, AssemblerRegister64 scratch)
    {
        code.mov(scratch.Lower(), 0x0F0F0F0F);
        code.vpbroadcastd(Mask, scratch.Lower());
        if (UpperToLower is { } upperToLower)
        {
            code.mov(scratch, UpperToLowerNibbles);
            code.vpbroadcastq(upperToLower, scratch);
        }
    }

    /// <summary>Upper nibbles of another register's bytes.</summary>
    public void Upper(Assembler code, AssemblerRegisterZMM target, AssemblerRegisterZMM packed)
    {
        if (UpperToLower is { } upperToLower)
        {
            code.vgf2p8affineqb(target, packed, upperToLower, 0);
            return;
        }

        code.vpsrlw(target, packed, 4);
        code.vpandd(target, target, Mask);
    }

    /// <summary>Lower nibbles, in place of the bytes.</summary>
    public void Lower(Assembler code, AssemblerRegisterZMM packed) => code.vpandd(packed, packed, Mask);
}
