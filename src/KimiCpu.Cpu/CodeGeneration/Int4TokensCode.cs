// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Int4TokensArguments"/>*): rows of INT4 weights as stored times a fixed number of tokens. The weights
/// of a step of 512 columns are split into nibbles once and stay in registers for all tokens; products are packed as
/// <see cref="Int4RowsCode"/> explains. Here sums stay in the order that packing leaves, group 4 q + l of a step at 4 l + q,
/// in which activations have their scales and corrections: a token and step cost 9 dot products and 14 other instructions.
/// Tiles (<see cref="TileCode"/>) take fewer, but have to be unpacked first, which pays for many tokens only.
/// </summary>
internal static class Int4TokensCode
{
    /// <summary>Tokens of a tile, and floats of a row of results: those of five rows of 7168 columns would leave a first-level cache of 48 KB.</summary>
    public const int MostTokens = 4;

    private const int VectorsOfStep = Int4StepCode.Vectors;
    private const int LineBytes = Int4StepCode.LineBytes;

    public static void Write(Assembler code, CallingConvention convention, int tokens, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3], convention.Arguments[4]);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => registers.Dequeue())];

        // Those whose lowest part is used by itself come first: both conventions have them among the 16 of short instructions.
        var vectors = new Vectors(registers.Dequeue(), Take(VectorsOfStep), Take(VectorsOfStep), Take(VectorsOfStep), registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), Take(tokens));
        Label nextRow = code.CreateLabel();
        Label nextStep = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label rowDone = code.CreateLabel();

        Int4StepCode.SetConstants(code, vectors.Nibbles, vectors.Ones, at.Data);
        code.vpxord(vectors.Zero, vectors.Zero, vectors.Zero);
        LaneNumbers.Transposed(code, vectors.Order, vectors.Scale.Lowest(), vectors.Products[0].Lowest(), at.Data);
        Int4RestMasks.Load(code, arguments, Marshal.OffsetOf<Int4TokensArguments>(nameof(Int4TokensArguments.Rest)));
        code.mov(at.Scales, Field(arguments, nameof(Int4TokensArguments.Scales)));
        code.mov(at.Y, Field(arguments, nameof(Int4TokensArguments.Y)));

        code.Label(ref nextRow);
        code.mov(at.Data, Field(arguments, nameof(Int4TokensArguments.Data)));
        code.mov(at.X, Field(arguments, nameof(Int4TokensArguments.X)));
        foreach (AssemblerRegisterZMM sum in vectors.Sums)
        {
            code.vmovdqa64(sum, vectors.Zero);
        }

        code.cmp(at.X, Field(arguments, nameof(Int4TokensArguments.XEnd)));
        code.jae(wholeDone);
        code.Label(ref nextStep);
        Int4StepCode.Ask(code, at.Data, at.Scales, style);
        Step(code, at, vectors, rest: false);
        code.add(at.Data, Int4StepCode.Bytes);
        code.add(at.Scales, Int4StepCode.ScaleBytes);
        code.add(at.X, StepTiles.TokenBytes * tokens);
        code.cmp(at.X, Field(arguments, nameof(Int4TokensArguments.XEnd)));
        code.jb(nextStep);

        code.Label(ref wholeDone);
        code.cmp(Field(arguments, nameof(Int4TokensArguments.RestScaleBytes)), 0);
        code.je(rowDone);
        Step(code, at, vectors, rest: true);
        code.add(at.Scales, Field(arguments, nameof(Int4TokensArguments.RestScaleBytes)));

        code.Label(ref rowDone);
        code.vmovups(__xmmword_ptr[at.Y], Fold(code, vectors));
        code.add(at.Y, MostTokens * sizeof(float));
        code.mov(at.X, Field(arguments, nameof(Int4TokensArguments.RowBytes)));
        code.add(Field(arguments, nameof(Int4TokensArguments.Data)), at.X);
        code.dec(Field(arguments, nameof(Int4TokensArguments.Rows)));
        code.jnz(nextRow);
        code.vzeroupper();
        code.ret();
    }

    private static void Step(Assembler code, Pointers at, Vectors v, bool rest)
    {
        for (int q = 0; q < VectorsOfStep; q++)
        {
            AssemblerMemoryOperand weights = __zmmword_ptr[at.Data + (LineBytes * q)];
            if (rest)
            {
                code.vmovdqu8(Int4StepCode.Masked(v.Even[q], q), weights);
            }
            else
            {
                code.vmovdqu64(v.Even[q], weights);
            }

            code.vpsrlw(v.Odd[q], v.Even[q], 4);
            code.vpandd(v.Even[q], v.Even[q], v.Nibbles);
            code.vpandd(v.Odd[q], v.Odd[q], v.Nibbles);
        }

        code.vpmovzxwd(rest ? v.Scale.k5.z : v.Scale, __ymmword_ptr[at.Scales]);
        code.vpslld(v.Scale, v.Scale, 16);
        code.vpermd(v.Scale, v.Order, v.Scale);
        for (int t = 0; t < v.Sums.Length; t++)
        {
            int token = StepTiles.TokenBytes * t;
            AssemblerRegisterZMM[] p = v.Products;
            for (int q = 0; q < VectorsOfStep; q++)
            {
                code.vmovdqa64(p[q], v.Zero);
                code.vpdpbusd(p[q], v.Even[q], __zmmword_ptr[at.X + (token + (LineBytes * q))]);
            }

            for (int q = 0; q < VectorsOfStep; q++)
            {
                code.vpdpbusd(p[q], v.Odd[q], __zmmword_ptr[at.X + (token + StepTiles.OddAt + (LineBytes * q))]);
            }

            code.vpackssdw(p[0], p[0], p[1]);
            code.vpackssdw(p[2], p[2], p[3]);
            code.vpmaddwd(p[0], p[0], v.Ones);
            code.vpmaddwd(p[2], p[2], v.Ones);
            code.vmovdqa64(p[1], __zmmword_ptr[at.X + (token + StepTiles.CorrectionsAt)]);
            code.vpackssdw(p[0], p[0], p[2]);
            code.vmulps(p[3], v.Scale, __zmmword_ptr[at.X + (token + StepTiles.ScalesAt)]);
            code.vpdpwssd(p[1], p[0], v.Ones);
            code.vcvtdq2ps(p[1], p[1]);
            code.vmulps(p[1], p[1], p[3]);
            code.vaddps(v.Sums[t], v.Sums[t], p[1]);
        }
    }

    /// <summary>
    /// Four tokens' sums by halves, as <see cref="Kernels.LaneSum"/> says: the upper half of 16 groups, and of eight, lies
    /// in the same 128 bits, the others in other ones. What takes the place of tokens that are not there is not used.
    /// </summary>
    private static AssemblerRegisterXMM Fold(Assembler code, Vectors v)
    {
        AssemblerRegisterZMM Sums(int token) => v.Sums[Math.Min(token, v.Sums.Length - 1)];
        AssemblerRegisterZMM first = v.Products[0], second = v.Products[1], other = v.Products[2];
        code.vunpcklpd(first, Sums(0), Sums(1));
        code.vunpckhpd(other, Sums(0), Sums(1));
        code.vaddps(first, first, other);
        code.vunpcklpd(second, Sums(2), Sums(3));
        code.vunpckhpd(other, Sums(2), Sums(3));
        code.vaddps(second, second, other);
        code.vshufps(other, first, second, 0b10_00_10_00);
        code.vshufps(first, first, second, 0b11_01_11_01);
        code.vaddps(first, other, first);
        code.vextractf64x4(other.LowerHalf(), first, 1);
        code.vaddps(first.LowerHalf(), first.LowerHalf(), other.LowerHalf());
        code.vextractf32x4(other.Lowest(), first.LowerHalf(), 1);
        code.vaddps(first.Lowest(), first.Lowest(), other.Lowest());
        return first.Lowest();
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Int4TokensArguments>(name)];

    private readonly record struct Pointers(AssemblerRegister64 Data, AssemblerRegister64 Scales, AssemblerRegister64 X, AssemblerRegister64 Y);

    private readonly record struct Vectors(
        AssemblerRegisterZMM Scale,
        AssemblerRegisterZMM[] Products,
        AssemblerRegisterZMM[] Even,
        AssemblerRegisterZMM[] Odd,
        AssemblerRegisterZMM Nibbles,
        AssemblerRegisterZMM Ones,
        AssemblerRegisterZMM Order,
        AssemblerRegisterZMM Zero,
        AssemblerRegisterZMM[] Sums);
}
