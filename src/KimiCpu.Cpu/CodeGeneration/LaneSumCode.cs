// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Folds the lanes of sums by halves, as <see cref="LaneSum"/> says.</summary>
internal static class LaneSumCode
{
    /// <summary>Returns where the sum of 16 lanes is: the lowest of <paramref name="spare"/>.</summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="lanes">Is kept.</param>
    /// <param name="spare">Is overwritten; among the 16 registers of short instructions.</param>
    /// <param name="other">The same.</param>
    public static AssemblerRegisterXMM Fold(Assembler code, AssemblerRegisterZMM lanes, AssemblerRegisterZMM spare, AssemblerRegisterZMM other)
    {
        code.vextractf64x4(other.LowerHalf(), lanes, 1);
        code.vaddps(spare, lanes, other);
        code.vextractf32x4(other.Lowest(), spare.LowerHalf(), 1);
        code.vaddps(spare.Lowest(), spare.Lowest(), other.Lowest());
        code.vpermilps(other.Lowest(), spare.Lowest(), 0b11_10_11_10);
        code.vaddps(spare.Lowest(), spare.Lowest(), other.Lowest());
        code.vmovshdup(other.Lowest(), spare.Lowest());
        code.vaddss(spare.Lowest(), spare.Lowest(), other.Lowest());
        return spare.Lowest();
    }

    /// <summary>Returns where the sums of four vectors are, one behind another: the lowest of <paramref name="spare"/>[1].</summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="lanes">Four, which are kept.</param>
    /// <param name="spare">Four that are overwritten.</param>
    /// <param name="transposed">As <see cref="LaneNumbers.Transposed"/> writes it: brings each fourth lane to the front.</param>
    public static AssemblerRegisterXMM FoldFour(Assembler code, AssemblerRegisterZMM[] lanes, AssemblerRegisterZMM[] spare, AssemblerRegisterZMM transposed)
    {
        const byte UpperQuarters = 0b11_10_11_10;
        const byte EvenQuarters = 0b10_00_10_00;
        const byte OddQuarters = 0b11_01_11_01;
        code.vinsertf64x4(spare[0], lanes[0], lanes[1].LowerHalf(), 1);
        code.vshuff64x2(spare[1], lanes[0], lanes[1], UpperQuarters);
        code.vinsertf64x4(spare[2], lanes[2], lanes[3].LowerHalf(), 1);
        code.vshuff64x2(spare[3], lanes[2], lanes[3], UpperQuarters);
        code.vaddps(spare[0], spare[0], spare[1]);
        code.vaddps(spare[2], spare[2], spare[3]);
        code.vshuff64x2(spare[1], spare[0], spare[2], EvenQuarters);
        code.vshuff64x2(spare[3], spare[0], spare[2], OddQuarters);
        code.vaddps(spare[1], spare[1], spare[3]);
        code.vpermilps(spare[0], spare[1], 0b11_10_11_10);
        code.vaddps(spare[1], spare[1], spare[0]);
        code.vmovshdup(spare[0], spare[1]);
        code.vaddps(spare[1], spare[1], spare[0]);
        code.vpermd(spare[1], transposed, spare[1]);
        return spare[1].Lowest();
    }
}
