// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>How many rows and tokens a function takes at once.</summary>
/// <param name="Rows">One or four.</param>
/// <param name="Tokens">At least one.</param>
/// <param name="AreStreams">Whether rows come from memory, each from a stream of its own; one token's always do.</param>
internal readonly record struct BFloat16Shape(int Rows, int Tokens, bool AreStreams);

/// <summary>
/// Writes void(<see cref="BFloat16Arguments"/>*): rows of BF16 weights as stored times tokens rounded to BF16, with
/// vdpbf16ps. Each (row, token) pair is one chain: lane i of its 16 sums takes the products of columns 32 v + 2 i + 1 and
/// 32 v + 2 i, in this order, each by a fused multiply-add, for v = 0, 1, … Subnormal numbers count as zero. With <see cref="CodeTarget.HasSlowBFloat16"/>
/// several tokens are multiplied by these multiply-adds themselves, which are told to flush as well; beside rows that are not streams their activations are then widened (<see cref="BFloat16Widening"/>).
/// </summary>
internal static class BFloat16Code
{
    /// <summary>Rows at once: <see cref="StreamCode"/> says why for one token; for several their activations are loaded once for all.</summary>
    public const int Rows = StreamCode.Rows;

    /// <summary>Cache lines of other rows that are asked for with each step of several tokens.</summary>
    public const int LinesOfStep = 2;

    private const int VectorBytes = 64;
    private const byte HalfBits = 16;

    /// <summary>Ahead in rows that stay in the second-level cache while tokens pass by, into the first (256 and 1024 are as good).</summary>
    private const int CachedDistance = 512;

    /// <summary>MXCSR as it is by default, with subnormal arguments and results as zeros (DAZ and FTZ).</summary>
    private const int FlushingControl = 0x9FC0;

    /// <summary>Sums of four rows, their weights, one vector of activations, and what widens both.</summary>
    public static int MaxTokens(CallingConvention convention) => Math.Min(6, (convention.Vectors.Count - Rows - 2) / Rows);

    /// <summary>The functions that every product is made of: single rows only where a range ends.</summary>
    public static IEnumerable<BFloat16Shape> Shapes(CallingConvention convention)
    {
        for (int tokens = 1; tokens <= MaxTokens(convention); tokens++)
        {
            yield return new(1, tokens, AreStreams: tokens == 1);
            yield return new(Rows, tokens, AreStreams: true);
            if (tokens > 1)
            {
                yield return new(Rows, tokens, AreStreams: false);
            }
        }
    }

    /// <summary>Whether a function meets activations in single precision, as <see cref="BFloat16Widening"/> arranges them.</summary>
    public static bool TakesSingles(BFloat16Shape shape, CodeTarget target) => target.HasSlowBFloat16 && shape is { Tokens: > 1, AreStreams: false };

    public static void Write(Assembler code, CallingConvention convention, BFloat16Shape shape, CodeTarget target)
    {
        PrefetchStyle style = target.Style;
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(new(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3]), convention.Scratch[0], convention.Scratch[1]);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] sums = [.. Enumerable.Range(0, shape.Rows * shape.Tokens).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM x = registers.Dequeue();
        bool byMultiplyAdds = target.HasSlowBFloat16 && shape.Tokens > 1;
        bool isWide = TakesSingles(shape, target);
        AssemblerRegisterZMM? upperHalves = byMultiplyAdds ? registers.Dequeue() : null;
        AssemblerRegisterZMM[] weights = [.. registers.Take(shape.Rows)];
        Label continues = code.CreateLabel();
        Label begin = code.CreateLabel();
        Label step = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label done = code.CreateLabel();

        if (upperHalves is { } upper)
        {
            code.mov(at.X.Lower(), unchecked((int)0xFFFF0000));
            code.vpbroadcastd(upper, at.X.Lower());
            code.stmxcsr(Half(arguments, nameof(BFloat16Arguments.ControlBefore)));
            code.mov(Half(arguments, nameof(BFloat16Arguments.Control)), FlushingControl);
            code.ldmxcsr(Half(arguments, nameof(BFloat16Arguments.Control)));
        }

        code.cmp(Field(arguments, nameof(BFloat16Arguments.Continues)), 0);
        code.jne(continues);
        foreach (AssemblerRegisterZMM sum in sums)
        {
            code.vpxord(sum, sum, sum);
        }

        code.jmp(begin);
        code.Label(ref continues);
        code.mov(at.X, Field(arguments, nameof(BFloat16Arguments.Sums)));
        for (int i = 0; i < sums.Length; i++)
        {
            code.vmovups(sums[i], __zmmword_ptr[at.X + (VectorBytes * i)]);
        }

        code.Label(ref begin);
        code.mov(at.Rows.First, Field(arguments, nameof(BFloat16Arguments.Weights)));
        code.mov(at.Rows.Stride, Field(arguments, nameof(BFloat16Arguments.RowBytes)));
        at.Rows.Complete(code);
        code.mov(at.X, Field(arguments, nameof(BFloat16Arguments.X)));
        if (!shape.AreStreams)
        {
            code.mov(at.Next, Field(arguments, nameof(BFloat16Arguments.Next)));
        }

        code.cmp(at.X, Field(arguments, nameof(BFloat16Arguments.XEnd)));
        code.jae(wholeDone);
        if (shape is { Rows: Rows, Tokens: 1 })
        {
            Lines(code, at, arguments, sums, x, registers, style, step, wholeDone);
        }

        code.Label(ref step);
        Ask(code, at, shape, isWide, style);
        Step(code, at, shape, sums, x, weights, upperHalves, masked: false);
        code.add(at.Rows.First, VectorBytes);
        code.add(at.X, VectorBytes * shape.Tokens * (isWide ? 2 : 1));
        if (!shape.AreStreams)
        {
            code.add(at.Next, VectorBytes * LinesOfStep);
        }

        code.cmp(at.X, Field(arguments, nameof(BFloat16Arguments.XEnd)));
        code.jb(step);

        code.Label(ref wholeDone);
        code.cmp(Field(arguments, nameof(BFloat16Arguments.RestMask)), 0);
        code.je(done);
        code.kmovq(k1, Field(arguments, nameof(BFloat16Arguments.RestMask)));
        Step(code, at, shape, sums, x, weights, upperHalves, masked: true);

        code.Label(ref done);
        code.mov(at.X, Field(arguments, nameof(BFloat16Arguments.Sums)));
        for (int i = 0; i < sums.Length; i++)
        {
            code.vmovups(__zmmword_ptr[at.X + (VectorBytes * i)], sums[i]);
        }

        if (byMultiplyAdds)
        {
            code.ldmxcsr(Half(arguments, nameof(BFloat16Arguments.ControlBefore)));
        }

        code.vzeroupper();
        code.ret();
    }

    private static void Ask(Assembler code, Pointers at, BFloat16Shape shape, bool isWide, PrefetchStyle style)
    {
        if (shape.AreStreams)
        {
            StreamCode.Ask(code, at.Rows, shape.Rows, style);
            return;
        }

        for (int row = 0; row < shape.Rows && isWide; row++)
        {
            code.prefetcht0(at.Rows[row] + CachedDistance);
        }

        // Several tokens leave time to bring each line, where the hardware would begin only when the rows are read.
        for (int line = 0; line < LinesOfStep; line++)
        {
            StreamCode.AskForLine(code, __byte_ptr[at.Next + (VectorBytes * line)], style);
        }
    }

    /// <summary>The whole vectors of four rows that do not begin with a cache line, as <see cref="WholeLines"/> explains.</summary>
    private static void Lines(
        Assembler code,
        Pointers at,
        AssemblerRegister64 arguments,
        AssemblerRegisterZMM[] sums,
        AssemblerRegisterZMM x,
        IEnumerable<AssemblerRegisterZMM> free,
        PrefetchStyle style,
        Label asTheyLie,
        Label done)
    {
        var registers = new Queue<AssemblerRegisterZMM>(free);
        AssemblerRegisterZMM[] lines = [.. sums.Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM next = registers.Dequeue(), order = registers.Dequeue(), weights = registers.Dequeue();
        Label step = code.CreateLabel();
        WholeLines.Begin(code, at.Rows, order, weights, sums[0].Lowest(), sums[1].Lowest(), at.X, asTheyLie);

        // Sums of one token never go on from others, so two of them can be lent and cleared once more.
        code.vpxord(sums[0], sums[0], sums[0]);
        code.vpxord(sums[1], sums[1], sums[1]);
        code.mov(at.X, Field(arguments, nameof(BFloat16Arguments.X)));
        for (int row = 0; row < lines.Length; row++)
        {
            code.vmovdqa64(lines[row], at.Rows[row]);
        }

        code.Label(ref step);
        StreamCode.Ask(code, at.Rows, lines.Length, style);
        code.vmovdqu64(x, __zmmword_ptr[at.X]);
        for (int row = 0; row < lines.Length; row++)
        {
            code.vmovdqa64(next, at.Rows[row] + VectorBytes);
            code.vmovdqa64(weights, order);
            code.vpermi2d(weights, lines[row], next);
            code.vdpbf16ps(sums[row], x, weights);
            code.vmovdqa64(lines[row], next);
        }

        code.add(at.Rows.First, VectorBytes);
        code.add(at.X, VectorBytes);
        code.cmp(at.X, Field(arguments, nameof(BFloat16Arguments.XEnd)));
        code.jb(step);
        code.mov(at.Rows.First, Field(arguments, nameof(BFloat16Arguments.Weights)));
        code.add(at.Rows.First, Field(arguments, nameof(BFloat16Arguments.XEnd)));
        code.sub(at.Rows.First, Field(arguments, nameof(BFloat16Arguments.X)));
        code.jmp(done);
    }

    private static void Step(
        Assembler code, Pointers at, BFloat16Shape shape, AssemblerRegisterZMM[] sums, AssemblerRegisterZMM x, AssemblerRegisterZMM[] weights, AssemblerRegisterZMM? upperHalves, bool masked)
    {
        if (upperHalves is { } upper)
        {
            MultiplyAdd(code, at, shape, sums, x, weights, upper, masked);
            return;
        }

        if (shape.Tokens == 1)
        {
            code.vmovdqu64(x, __zmmword_ptr[at.X]);
            for (int row = 0; row < shape.Rows; row++)
            {
                if (masked)
                {
                    code.vmovdqu16(weights[0].k1.z, at.Rows[row]);
                    code.vdpbf16ps(sums[row], x, weights[0]);
                }
                else
                {
                    code.vdpbf16ps(sums[row], x, at.Rows[row]);
                }
            }

            return;
        }

        for (int row = 0; row < shape.Rows; row++)
        {
            if (masked)
            {
                code.vmovdqu16(weights[row].k1.z, at.Rows[row]);
            }
            else
            {
                code.vmovdqu64(weights[row], at.Rows[row]);
            }
        }

        for (int token = 0; token < shape.Tokens; token++)
        {
            code.vmovdqu64(x, __zmmword_ptr[at.X + (VectorBytes * token)]);
            for (int row = 0; row < shape.Rows; row++)
            {
                code.vdpbf16ps(sums[(token * shape.Rows) + row], x, weights[row]);
            }
        }
    }

    /// <summary>The odd columns of all rows and tokens, then the even ones: either half of a doubleword.</summary>
    private static void MultiplyAdd(
        Assembler code, Pointers at, BFloat16Shape shape, AssemblerRegisterZMM[] sums, AssemblerRegisterZMM x, AssemblerRegisterZMM[] weights, AssemblerRegisterZMM upperHalves, bool masked)
    {
        for (int half = 0; half < 2; half++)
        {
            AssemblerRegisterZMM? mask = half == 0 ? upperHalves : null;
            for (int row = 0; row < shape.Rows; row++)
            {
                if (masked)
                {
                    code.vmovdqu16(weights[row].k1.z, at.Rows[row]);
                    Widen(code, weights[row], mask);
                }
                else
                {
                    Widen(code, weights[row], at.Rows[row], mask);
                }
            }

            for (int token = 0; token < shape.Tokens; token++)
            {
                if (shape.AreStreams)
                {
                    Widen(code, x, __zmmword_ptr[at.X + (VectorBytes * token)], mask);
                }
                else
                {
                    code.vmovups(x, __zmmword_ptr[at.X + (VectorBytes * ((2 * token) + half))]);
                }

                for (int row = 0; row < shape.Rows; row++)
                {
                    code.vfmadd231ps(sums[(token * shape.Rows) + row], x, weights[row]);
                }
            }
        }
    }

    /// <summary>Upper halves of doublewords where there is their mask, else lower ones.</summary>
    private static void Widen(Assembler code, AssemblerRegisterZMM register, AssemblerRegisterZMM? mask)
    {
        if (mask is { } upper)
        {
            code.vpandd(register, upper, register);
        }
        else
        {
            code.vpslld(register, register, HalfBits);
        }
    }

    private static void Widen(Assembler code, AssemblerRegisterZMM register, AssemblerMemoryOperand vector, AssemblerRegisterZMM? mask)
    {
        if (mask is { } upper)
        {
            code.vpandd(register, upper, vector);
        }
        else
        {
            code.vpslld(register, vector, HalfBits);
        }
    }

    private static AssemblerMemoryOperand Half(AssemblerRegister64 arguments, string name) =>
        __dword_ptr[arguments + (int)Marshal.OffsetOf<BFloat16Arguments>(name)];

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<BFloat16Arguments>(name)];

    private readonly record struct Pointers(RowPointers Rows, AssemblerRegister64 X, AssemblerRegister64 Next);
}
