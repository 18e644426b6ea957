// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="BFloat16RowSumArguments"/>*): the sum of rows, each times a factor of one token; the bits of
/// <see cref="BFloat16PairsCode"/>, which takes rows that were paired in memory before: worth it for several tokens only.
/// Here eight rows are paired in registers, line by line in the order of memory, and sums belong to places of a line,
/// wherever in it rows begin: those of a neighbour's elements are never used.
/// </summary>
internal static class BFloat16RowSumCode
{
    /// <summary>Rows of a block.</summary>
    public const int Rows = 8;

    /// <summary>Elements, and sums, of a line.</summary>
    public const int LineColumns = LineBytes / sizeof(ushort);

    private const int LineBytes = 64;

    public static void Write(Assembler code, CallingConvention convention, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var rows = new RowPointers(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3]);
        RowPointers upperRows = rows with { First = convention.Arguments[4] };
        AssemblerRegister64 sums = convention.Scratch[0];
        AssemblerRegister64 next = convention.Scratch[1];
        IReadOnlyList<AssemblerRegisterZMM> v = convention.Vectors;
        AssemblerRegisterZMM low = v[0], high = v[1], first = v[2], second = v[3], paired = v[4];
        AssemblerRegisterZMM[] factors = [v[6], v[7], v[8], v[9]];
        Label nextBlock = code.CreateLabel();
        Label nextLine = code.CreateLabel();
        Label nextKnown = code.CreateLabel();

        code.mov(rows.Stride, Field(arguments, nameof(BFloat16RowSumArguments.RowBytes)));
        rows.Complete(code);
        code.Label(ref nextBlock);
        code.mov(rows.First, Field(arguments, nameof(BFloat16RowSumArguments.Lines)));
        code.lea(upperRows.First, __qword_ptr[rows.First + (rows.Stride * 4)]);
        code.mov(sums, Field(arguments, nameof(BFloat16RowSumArguments.Factors)));
        for (int pair = 0; pair < factors.Length; pair++)
        {
            code.vpbroadcastd(factors[pair], __dword_ptr[sums + (2 * sizeof(ushort) * pair)]);
        }

        code.add(sums, Rows * sizeof(ushort));
        code.mov(Field(arguments, nameof(BFloat16RowSumArguments.Factors)), sums);
        code.lea(next, __qword_ptr[rows.First + (rows.Stride * 8)]);
        code.mov(Field(arguments, nameof(BFloat16RowSumArguments.Lines)), next);
        code.dec(Field(arguments, nameof(BFloat16RowSumArguments.Blocks)));
        code.jnz(nextKnown);
        code.mov(next, Field(arguments, nameof(BFloat16RowSumArguments.Next)));
        code.Label(ref nextKnown);
        code.mov(sums, Field(arguments, nameof(BFloat16RowSumArguments.Sums)));

        code.Label(ref nextLine);
        if (style == PrefetchStyle.EveryPage)
        {
            PageCode.Ask(code, next, LineBytes * Rows, distance: 0);
        }
        else
        {
            for (int line = 0; line < Rows; line++)
            {
                code.prefetcht1(__byte_ptr[next + (LineBytes * line)]);
            }
        }

        code.vmovdqa64(low, __zmmword_ptr[sums]);
        code.vmovdqa64(high, __zmmword_ptr[sums + LineBytes]);
        for (int pair = 0; pair < factors.Length; pair++)
        {
            RowPointers four = pair < 2 ? rows : upperRows;
            code.vmovdqa64(first, four[pair % 2 * 2]);
            code.vmovdqa64(second, four[(pair % 2 * 2) + 1]);
            code.vpunpcklwd(paired, first, second);
            code.vpunpckhwd(first, first, second);
            code.vdpbf16ps(low, factors[pair], paired);
            code.vdpbf16ps(high, factors[pair], first);
        }

        code.vmovdqa64(__zmmword_ptr[sums], low);
        code.vmovdqa64(__zmmword_ptr[sums + LineBytes], high);
        code.add(rows.First, LineBytes);
        code.add(upperRows.First, LineBytes);
        code.add(next, LineBytes * Rows);
        code.add(sums, 2 * LineBytes);
        code.cmp(sums, Field(arguments, nameof(BFloat16RowSumArguments.SumsEnd)));
        code.jb(nextLine);
        code.cmp(Field(arguments, nameof(BFloat16RowSumArguments.Blocks)), 0);
        code.jne(nextBlock);
        code.vzeroupper();
        code.ret();
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<BFloat16RowSumArguments>(name)];
}
