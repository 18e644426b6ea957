// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Numbers of lanes in a vector, for instructions that rearrange one.</summary>
internal static class LaneNumbers
{
    /// <summary>0, 1, 2, … 15.</summary>
    public static void Rising(Assembler code, AssemblerRegisterZMM target, AssemblerRegisterXMM one, AssemblerRegisterXMM other, AssemblerRegister64 scratch) =>
        Write(code, target, 0x07060504_03020100UL, 0x0F0E0D0C_0B0A0908UL, one, other, scratch);

    /// <summary>0, 4, 8, 12, 1, 5, … 15: rows of four as columns, and back.</summary>
    public static void Transposed(Assembler code, AssemblerRegisterZMM target, AssemblerRegisterXMM one, AssemblerRegisterXMM other, AssemblerRegister64 scratch) =>
        Write(code, target, 0x0D090501_0C080400UL, 0x0F0B0703_0E0A0602UL, one, other, scratch);

    /// <summary>The other registers are overwritten; both conventions have only few that these short instructions take.</summary>
    private static void Write(Assembler code, AssemblerRegisterZMM target, ulong low, ulong high, AssemblerRegisterXMM one, AssemblerRegisterXMM other, AssemblerRegister64 scratch)
    {
        code.mov(scratch, low);
        code.vmovq(one, scratch);
        code.mov(scratch, high);
        code.vmovq(other, scratch);
        code.vpunpcklqdq(one, one, other);
        code.vpmovzxbd(target, one);
    }
}
