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
/// NaN and subnormal codes are entries like others; with <see cref="CodeTarget.HasSlowTables"/> steps of normal codes alone go by <see cref="Float8Bits"/>.
/// Each row is one chain as in <see cref="BFloat16Code"/>, whose columns are in the order of <see cref="Float8Codes"/>.
/// </summary>
internal static class Float8Code
{
    /// <summary>Rows at once, of as many streams.</summary>
    public const int Rows = StreamCode.Rows;

    private const int VectorBytes = 64;
    private const int Tables = 4;
    private const byte WithMaskedBits = 0xF8;

    public static void Write(Assembler code, CallingConvention convention, int rows, CodeTarget target)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(new(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3]), convention.Scratch[0]);
        var free = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => free.Dequeue())];
        bool byBits = rows == Rows && target is { HasSlowTables: true, HasGaloisField: true };
        var vectors = new Vectors(Take(rows), Take(byBits ? rows : 1), Take(Tables), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue(), free.Dequeue());
        Label wholeDone = code.CreateLabel();
        Label done = code.CreateLabel();

        code.mov(at.X, Field(arguments, nameof(Float8Arguments.Tables)));
        for (int table = 0; table < Tables; table++)
        {
            code.vmovdqu64(vectors.Tables[table], __zmmword_ptr[at.X + (VectorBytes * table)]);
        }

        code.mov(at.X.Lower(), unchecked((int)0x80808080));
        code.vpbroadcastd(vectors.Signs, at.X.Lower());
        Float8Bits? bits = byBits ? Float8Bits.Take(free) : null;
        bits?.Load(code, at.X);
        Clear(code, vectors.Sums);
        code.mov(at.Rows.First, Field(arguments, nameof(Float8Arguments.Weights)));
        code.mov(at.Rows.Stride, Field(arguments, nameof(Float8Arguments.RowBytes)));
        at.Rows.Complete(code);
        code.mov(at.X, Field(arguments, nameof(Float8Arguments.X)));
        code.cmp(at.X, Field(arguments, nameof(Float8Arguments.XEnd)));
        code.jae(wholeDone);
        Action? others = null;
        if (bits is { } b)
        {
            others = StepsByBits(code, at, vectors, b, arguments, target.Style);
        }
        else
        {
            StepsByTables(code, at, vectors, rows == Rows ? new Lines(Take(rows), free.Dequeue(), free.Dequeue()) : null, arguments, target.Style, wholeDone);
        }

        code.Label(ref wholeDone);
        code.cmp(Field(arguments, nameof(Float8Arguments.RestMask)), 0);
        code.je(done);
        code.kmovq(k1, Field(arguments, nameof(Float8Arguments.RestMask)));
        LoadX(code, at, vectors);
        for (int row = 0; row < rows; row++)
        {
            code.vmovdqu8(vectors.Codes[0].k1.z, at.Rows[row]);
            MultiplyByTables(code, vectors, row, vectors.Codes[0]);
        }

        code.Label(ref done);
        code.mov(at.X, Field(arguments, nameof(Float8Arguments.Sums)));
        for (int row = 0; row < rows; row++)
        {
            code.vmovups(__zmmword_ptr[at.X + (VectorBytes * row)], vectors.Sums[row]);
        }

        code.vzeroupper();
        code.ret();
        others?.Invoke();
    }

    private static void Clear(Assembler code, AssemblerRegisterZMM[] sums)
    {
        foreach (AssemblerRegisterZMM sum in sums)
        {
            code.vpxord(sum, sum, sum);
        }
    }

    /// <summary>Whole steps by tables; without <paramref name="lines"/> from rows as they lie.</summary>
    private static void StepsByTables(Assembler code, Pointers at, Vectors v, Lines? lines, AssemblerRegister64 arguments, PrefetchStyle style, Label done)
    {
        Label step = code.CreateLabel();
        AssemblerRegisterZMM codes = v.Codes[0];
        if (lines is { } l)
        {
            Label line = code.CreateLabel();
            WholeLines.Begin(code, at.Rows, l.Order, l.Next, v.Sums[0].Lowest(), v.Sums[1].Lowest(), at.X, step);
            Clear(code, v.Sums[..2]);
            code.mov(at.X, Field(arguments, nameof(Float8Arguments.X)));
            for (int row = 0; row < v.Sums.Length; row++)
            {
                code.vmovdqa64(l.Current[row], at.Rows[row]);
            }

            code.Label(ref line);
            StreamCode.Ask(code, at.Rows, v.Sums.Length, style);
            LoadX(code, at, v);
            for (int row = 0; row < v.Sums.Length; row++)
            {
                code.vmovdqa64(l.Next, at.Rows[row] + VectorBytes);
                code.vmovdqa64(codes, l.Order);
                code.vpermi2d(codes, l.Current[row], l.Next);
                code.vmovdqa64(l.Current[row], l.Next);
                MultiplyByTables(code, v, row, codes);
            }

            Advance(code, at, arguments, line);
            code.mov(at.Rows.First, Field(arguments, nameof(Float8Arguments.XEnd)));
            code.sub(at.Rows.First, Field(arguments, nameof(Float8Arguments.X)));
            code.shr(at.Rows.First, 1);
            code.add(at.Rows.First, Field(arguments, nameof(Float8Arguments.Weights)));
            code.jmp(done);
        }

        code.Label(ref step);
        StreamCode.Ask(code, at.Rows, v.Sums.Length, style);
        LoadX(code, at, v);
        for (int row = 0; row < v.Sums.Length; row++)
        {
            code.vmovdqu64(codes, at.Rows[row]);
            MultiplyByTables(code, v, row, codes);
        }

        Advance(code, at, arguments, step);
    }

    /// <summary>Whole steps of normal codes by their bits. What is returned writes what steps with other codes do, out of the loop's way.</summary>
    private static Action StepsByBits(Assembler code, Pointers at, Vectors v, Float8Bits bits, AssemblerRegister64 arguments, PrefetchStyle style)
    {
        Label step = code.CreateLabel();
        Label others = code.CreateLabel();
        Label multiplied = code.CreateLabel();
        code.Label(ref step);
        StreamCode.Ask(code, at.Rows, v.Sums.Length, style);
        for (int row = 0; row < v.Sums.Length; row++)
        {
            code.vmovdqu64(v.Codes[row], at.Rows[row]);
            bits.Rank(code, v.Codes[row], row == 0, v.Low);
        }

        LoadX(code, at, v);
        bits.JumpIfAnyOther(code, others);
        for (int row = 0; row < v.Sums.Length; row++)
        {
            bits.Decode(code, v.Codes[row], v.Low, v.High);
            Multiply(code, v, row, v.Codes[row]);
        }

        code.Label(ref multiplied);
        Advance(code, at, arguments, step);
        return () =>
        {
            code.Label(ref others);
            for (int row = 0; row < v.Sums.Length; row++)
            {
                MultiplyByTables(code, v, row, v.Codes[row]);
            }

            code.jmp(multiplied);
        };
    }

    private static void Advance(Assembler code, Pointers at, AssemblerRegister64 arguments, Label again)
    {
        code.add(at.Rows.First, VectorBytes);
        code.add(at.X, 2 * VectorBytes);
        code.cmp(at.X, Field(arguments, nameof(Float8Arguments.XEnd)));
        code.jb(again);
    }

    private static void LoadX(Assembler code, Pointers at, Vectors v)
    {
        code.vmovdqu64(v.FirstX, __zmmword_ptr[at.X]);
        code.vmovdqu64(v.SecondX, __zmmword_ptr[at.X + VectorBytes]);
    }

    private static void MultiplyByTables(Assembler code, Vectors v, int row, AssemblerRegisterZMM codes)
    {
        code.vmovdqa64(v.Low, codes);
        code.vpermi2b(v.Low, v.Tables[0], v.Tables[1]);
        code.vmovdqa64(v.High, codes);
        code.vpermi2b(v.High, v.Tables[2], v.Tables[3]);
        code.vpternlogd(v.High, codes, v.Signs, WithMaskedBits);
        Multiply(code, v, row, codes);
    }

    /// <summary>Adds a step's products to the sums of a row, whose numbers are in two registers, a byte each.</summary>
    private static void Multiply(Assembler code, Vectors v, int row, AssemblerRegisterZMM spare)
    {
        code.vpunpcklbw(spare, v.Low, v.High);
        code.vdpbf16ps(v.Sums[row], v.FirstX, spare);
        code.vpunpckhbw(v.Low, v.Low, v.High);
        code.vdpbf16ps(v.Sums[row], v.SecondX, v.Low);
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Float8Arguments>(name)];

    private readonly record struct Pointers(RowPointers Rows, AssemblerRegister64 X);

    /// <summary>Registers; of codes one, or one for each row.</summary>
    private readonly record struct Vectors(
        AssemblerRegisterZMM[] Sums,
        AssemblerRegisterZMM[] Codes,
        AssemblerRegisterZMM[] Tables,
        AssemblerRegisterZMM Signs,
        AssemblerRegisterZMM FirstX,
        AssemblerRegisterZMM SecondX,
        AssemblerRegisterZMM Low,
        AssemblerRegisterZMM High);

    /// <summary>What <see cref="WholeLines"/> puts rows together with.</summary>
    private readonly record struct Lines(AssemblerRegisterZMM[] Current, AssemblerRegisterZMM Order, AssemblerRegisterZMM Next);
}
