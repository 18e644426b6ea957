// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Rows of a file seldom begin with a cache line, and vectors across two lines stream at 0.6 of what whole lines do on Zen 5:
/// those of such rows are put together in registers. Every line that holds a byte of a row is read whole, which its page allows.
/// </summary>
internal static class WholeLines
{
    private const int LineBytes = 64;
    private const int ElementBytes = 4;

    /// <summary>Whether rows begin at the same place of a line, not with it, and with a doubleword.</summary>
    public static unsafe bool Pays(byte* row, long rowBytes) => ((nuint)row & (LineBytes - 1)) != 0 && ((nuint)row & (ElementBytes - 1)) == 0 && rowBytes % LineBytes == 0;

    /// <summary>
    /// Begins a loop over whole lines: goes to <paramref name="asTheyLie"/> where rows begin with a line, or not with a doubleword, or not
    /// all at the same place of one; else rounds the first address down to a line.
    /// </summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="rows">Of the first vectors.</param>
    /// <param name="order">Receives what vpermi2d puts a vector together with from its two lines.</param>
    /// <param name="spare">Is overwritten.</param>
    /// <param name="one">Is overwritten; among the 16 registers of short instructions.</param>
    /// <param name="other">The same.</param>
    /// <param name="scratch">Is overwritten.</param>
    /// <param name="asTheyLie">Continues with unaligned vectors.</param>
    public static void Begin(
        Assembler code, RowPointers rows, AssemblerRegisterZMM order, AssemblerRegisterZMM spare, AssemblerRegisterXMM one, AssemblerRegisterXMM other, AssemblerRegister64 scratch, Label asTheyLie)
    {
        code.test(rows.First.Lower(), LineBytes - 1);
        code.je(asTheyLie);
        code.test(rows.First.Lower(), ElementBytes - 1);
        code.jne(asTheyLie);
        code.test(rows.Stride.Lower(), LineBytes - 1);
        code.jne(asTheyLie);
        SetOrder(code, rows.First, order, spare, one, other, scratch);
        code.and(rows.First, -LineBytes);
    }

    /// <summary>Doubleword i of a vector is doubleword i + (address mod 64) / 4 of its two lines.</summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="row">Address of a row.</param>
    /// <param name="order">Receives what vpermi2d and vpermt2d put a vector together with.</param>
    /// <param name="spare">Is overwritten.</param>
    /// <param name="one">Is overwritten; among the 16 registers of short instructions.</param>
    /// <param name="other">The same.</param>
    /// <param name="scratch">Is overwritten.</param>
    public static void SetOrder(
        Assembler code, AssemblerRegister64 row, AssemblerRegisterZMM order, AssemblerRegisterZMM spare, AssemblerRegisterXMM one, AssemblerRegisterXMM other, AssemblerRegister64 scratch)
    {
        LaneNumbers.Rising(code, order, one, other, scratch);
        code.mov(scratch, row);
        code.and(scratch, LineBytes - 1);
        code.shr(scratch, 2);
        code.vpbroadcastd(spare, scratch.Lower());
        code.vpaddd(order, order, spare);
    }
}
