// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>Instructions that ask for one line of each page, as <see cref="PrefetchStyle.EveryPage"/> says.</summary>
internal static class PageCode
{
    /// <summary>
    /// Asks once a page, in the step that begins in its first <paramref name="stepBytes"/>, so few that it makes no difference (measured with INT4 rows) that the
    /// page's first line may lie before what is asked for.
    /// </summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="pointer">Moves on by <paramref name="stepBytes"/> in each step.</param>
    /// <param name="stepBytes">A power of two below <see cref="Prefetch.PageBytes"/>.</param>
    /// <param name="distance">Bytes from the pointer to what is asked for.</param>
    public static void Ask(Assembler code, AssemblerRegister64 pointer, int stepBytes, int distance)
    {
        System.Diagnostics.Debug.Assert(BitOperations.IsPow2(stepBytes) && stepBytes < Prefetch.PageBytes, "Only a power of two is found by a mask.");
        Label otherStep = code.CreateLabel();
        code.test(pointer.Lower(), Prefetch.PageBytes - stepBytes);
        code.jne(otherStep);
        code.prefetcht1(__byte_ptr[pointer + distance]);
        code.Label(ref otherStep);
    }

    /// <summary>
    /// The same for steps of any size; asks for the page's first line, wherever in it the step begins. Where the hardware was sent to a line
    /// further on, those before it had to be waited for: 8-bit tiles 39.4 → 41.0 GB/s on one core of Zen 5.
    /// </summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="pointer">Moves on by <paramref name="stepBytes"/> in each step.</param>
    /// <param name="stepBytes">Below <see cref="Prefetch.PageBytes"/>.</param>
    /// <param name="distance">Bytes from the pointer's page to the one that is asked for.</param>
    /// <param name="scratch">Is overwritten.</param>
    public static void Ask(Assembler code, AssemblerRegister64 pointer, int stepBytes, int distance, AssemblerRegister64 scratch)
    {
        System.Diagnostics.Debug.Assert(distance % Prefetch.PageBytes == 0, "Distances are those of pages.");
        Label otherStep = code.CreateLabel();
        code.mov(scratch.Lower(), pointer.Lower());
        code.and(scratch.Lower(), Prefetch.PageBytes - 1);
        code.cmp(scratch.Lower(), stepBytes);
        code.jae(otherStep);
        code.mov(scratch, pointer);
        code.and(scratch, -Prefetch.PageBytes);
        code.prefetcht1(__byte_ptr[scratch + distance]);
        code.Label(ref otherStep);
    }
}
