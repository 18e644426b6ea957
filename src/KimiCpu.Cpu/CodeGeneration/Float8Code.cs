// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Float8Arguments"/>*): rows of FP8 codes as stored times one token. Both bytes of a code's BF16
/// number come from tables (vpermi2b, which does not look at the sign), so a step of 64 columns is ten instructions a row, and
/// NaN and subnormal codes are entries like others. Each row is one chain as in <see cref="BFloat16Code"/>, whose columns
/// are in the order of <see cref="Float8Codes"/>.
/// </summary>
internal static class Float8Code
{
    /// <summary>Rows at once, of as many streams.</summary>
    public const int Rows = StreamCode.Rows;

    private const int VectorBytes = 64;
    private const int Tables = 4;
    private const byte WithMaskedBits = 0xF8;

    public static void Write(Assembler code, CallingConvention convention, int rows, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(new(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3]), convention.Scratch[0]);
        var free = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => free.Dequeue())];
        var vectors = new Vectors(Take(rows), Take(rows), Take(Tables), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue());
        Label step = code.CreateLabel();
        Label lines = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label done = code.CreateLabel();

        code.mov(at.X, Field(arguments, nameof(Float8Arguments.Tables)));
        for (int table = 0; table < Tables; table++)
        {
            code.vmovdqu64(vectors.Tables[table], __zmmword_ptr[at.X + (VectorBytes * table)]);
        }

        code.mov(at.X.Lower(), unchecked((int)0x80808080));
        code.vpbroadcastd(vectors.Signs, at.X.Lower());
        Clear(code, vectors.Sums);
        code.mov(at.Rows.First, Field(arguments, nameof(Float8Arguments.Weights)));
        code.mov(at.Rows.Stride, Field(arguments, nameof(Float8Arguments.RowBytes)));
        at.Rows.Complete(code);
        code.mov(at.X, Field(arguments, nameof(Float8Arguments.X)));
        code.cmp(at.X, Field(arguments, nameof(Float8Arguments.XEnd)));
        code.jae(wholeDone);
        if (rows == Rows)
        {
            WholeLines.Begin(code, at.Rows, vectors.Order, vectors.Next, vectors.Sums[0].Lowest(), vectors.Sums[1].Lowest(), at.X, step);
            Clear(code, vectors.Sums[..2]);
            code.mov(at.X, Field(arguments, nameof(Float8Arguments.X)));
            for (int row = 0; row < rows; row++)
            {
                code.vmovdqa64(vectors.Lines[row], at.Rows[row]);
            }

            code.Label(ref lines);
            StreamCode.Ask(code, at.Rows, rows, style);
            Step(code, at, vectors, Source.Lines);
            Advance(code, at, arguments, lines);
            code.mov(at.Rows.First, Field(arguments, nameof(Float8Arguments.XEnd)));
            code.sub(at.Rows.First, Field(arguments, nameof(Float8Arguments.X)));
            code.shr(at.Rows.First, 1);
            code.add(at.Rows.First, Field(arguments, nameof(Float8Arguments.Weights)));
            code.jmp(wholeDone);
        }

        code.Label(ref step);
        StreamCode.Ask(code, at.Rows, rows, style);
        Step(code, at, vectors, Source.Rows);
        Advance(code, at, arguments, step);

        code.Label(ref wholeDone);
        code.cmp(Field(arguments, nameof(Float8Arguments.RestMask)), 0);
        code.je(done);
        code.kmovq(k1, Field(arguments, nameof(Float8Arguments.RestMask)));
        Step(code, at, vectors, Source.Rest);

        code.Label(ref done);
        code.mov(at.X, Field(arguments, nameof(Float8Arguments.Sums)));
        for (int row = 0; row < rows; row++)
        {
            code.vmovups(__zmmword_ptr[at.X + (VectorBytes * row)], vectors.Sums[row]);
        }

        code.vzeroupper();
        code.ret();
    }

    private static void Clear(Assembler code, AssemblerRegisterZMM[] sums)
    {
        foreach (AssemblerRegisterZMM sum in sums)
        {
            code.vpxord(sum, sum, sum);
        }
    }

    private static void Advance(Assembler code, Pointers at, AssemblerRegister64 arguments, Label again)
    {
        code.add(at.Rows.First, VectorBytes);
        code.add(at.X, 2 * VectorBytes);
        code.cmp(at.X, Field(arguments, nameof(Float8Arguments.XEnd)));
        code.jb(again);
    }

    private static void Step(Assembler code, Pointers at, Vectors v, Source source)
    {
        code.vmovdqu64(v.FirstX, __zmmword_ptr[at.X]);
        code.vmovdqu64(v.SecondX, __zmmword_ptr[at.X + VectorBytes]);
        for (int row = 0; row < v.Sums.Length; row++)
        {
            switch (source)
            {
                case Source.Lines:
                    code.vmovdqa64(v.Next, at.Rows[row] + VectorBytes);
                    code.vmovdqa64(v.Codes, v.Order);
                    code.vpermi2d(v.Codes, v.Lines[row], v.Next);
                    code.vmovdqa64(v.Lines[row], v.Next);
                    break;
                case Source.Rows:
                    code.vmovdqu64(v.Codes, at.Rows[row]);
                    break;
                default:
                    code.vmovdqu8(v.Codes.k1.z, at.Rows[row]);
                    break;
            }

            code.vmovdqa64(v.Low, v.Codes);
            code.vpermi2b(v.Low, v.Tables[0], v.Tables[1]);
            code.vmovdqa64(v.High, v.Codes);
            code.vpermi2b(v.High, v.Tables[2], v.Tables[3]);
            code.vpternlogd(v.High, v.Codes, v.Signs, WithMaskedBits);
            code.vpunpcklbw(v.Codes, v.Low, v.High);
            code.vdpbf16ps(v.Sums[row], v.FirstX, v.Codes);
            code.vpunpckhbw(v.Low, v.Low, v.High);
            code.vdpbf16ps(v.Sums[row], v.SecondX, v.Low);
        }
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Float8Arguments>(name)];

    private readonly record struct Pointers(RowPointers Rows, AssemblerRegister64 X);

    private readonly record struct Vectors(
        AssemblerRegisterZMM[] Sums,
        AssemblerRegisterZMM[] Lines,
        AssemblerRegisterZMM[] Tables,
        AssemblerRegisterZMM Signs,
        AssemblerRegisterZMM FirstX,
        AssemblerRegisterZMM SecondX,
        AssemblerRegisterZMM Codes,
        AssemblerRegisterZMM Low,
        AssemblerRegisterZMM High,
        AssemblerRegisterZMM Order,
        AssemblerRegisterZMM Next);

    /// <summary>Where a step's codes come from.</summary>
    private enum Source
    {
        /// <summary>The rows, wherever they lie.</summary>
        Rows,

        /// <summary><see cref="WholeLines"/>.</summary>
        Lines,

        /// <summary>What is left of the rows.</summary>
        Rest,
    }
}
