// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Int4RowsArguments"/>*): rows of INT4 weights as stored times one token. A step of 512 columns is
/// 256 packed bytes: four vectors of four groups, each split into nibbles for two dot products (vpdpbusd), which leave four
/// sums of at most 15240 for each group. Those fit into 16 bits, so saturating packs and multiply-adds with ones bring 16
/// groups into 16 lanes in six instructions. Rows of a file seldom begin with a cache line, and vectors across two lines stream
/// at 0.6 of what whole lines do on Zen 5: those of such rows are put together in registers.
/// </summary>
internal static class Int4RowsCode
{
    private const int StepBytes = Int4StepCode.Bytes;
    private const int StepScaleBytes = Int4StepCode.ScaleBytes;
    private const int LineBytes = Int4StepCode.LineBytes;
    private const int ElementBytes = 4;

    public static void Write(Assembler code, CallingConvention convention, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3], convention.Arguments[4], convention.Scratch[0], convention.Scratch[1]);
        IReadOnlyList<AssemblerRegisterZMM> v = convention.Vectors;

        // Those whose lowest part is used by itself come first: both conventions have them among the 16 of short instructions.
        var vectors = new Vectors(v[0], v[1], [v[2], v[3], v[4], v[5]], v[6], v[7], v[8], v[9], v[10], v[11], [v[12], v[13]], v[14]);
        Label nextRow = code.CreateLabel();
        Label nextStep = code.CreateLabel();
        Label nextLines = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label rowDone = code.CreateLabel();

        Int4StepCode.SetConstants(code, vectors.Nibbles, vectors.Ones, at.Data);
        LaneNumbers.Transposed(code, vectors.Order, vectors.Sum.Lowest(), vectors.Weights.Lowest(), at.Data);
        LaneNumbers.Rising(code, vectors.Columns, vectors.Sum.Lowest(), vectors.Weights.Lowest(), at.Data);
        Int4RestMasks.Load(code, arguments, Marshal.OffsetOf<Int4RowsArguments>(nameof(Int4RowsArguments.Rest)));
        code.mov(at.Scales, Field(arguments, nameof(Int4RowsArguments.Scales)));
        code.mov(at.Corrections, Field(arguments, nameof(Int4RowsArguments.CorrectionsAt)));

        code.Label(ref nextRow);
        code.mov(at.Data, Field(arguments, nameof(Int4RowsArguments.Data)));
        code.mov(at.Even, Field(arguments, nameof(Int4RowsArguments.Even)));
        code.mov(at.Odd, Field(arguments, nameof(Int4RowsArguments.Odd)));
        code.mov(at.ActivationScales, Field(arguments, nameof(Int4RowsArguments.ActivationScales)));
        code.vpxord(vectors.Sum, vectors.Sum, vectors.Sum);
        code.cmp(at.Even, Field(arguments, nameof(Int4RowsArguments.EvenEnd)));
        code.jae(wholeDone);
        code.test(at.Data.Lower(), LineBytes - 1);
        code.je(nextStep);
        code.test(at.Data.Lower(), ElementBytes - 1);
        code.jne(nextStep);

        // Every line that holds a byte of the row is read whole, which its page allows.
        code.mov(at.ActivationScales, at.Data);
        code.and(at.ActivationScales, LineBytes - 1);
        code.shr(at.ActivationScales, 2);
        code.vpbroadcastd(vectors.LineOrder, at.ActivationScales.Lower());
        code.vpaddd(vectors.LineOrder, vectors.LineOrder, vectors.Columns);
        code.mov(at.ActivationScales, Field(arguments, nameof(Int4RowsArguments.ActivationScales)));
        code.and(at.Data, -LineBytes);
        code.vmovdqa64(vectors.Lines[0], __zmmword_ptr[at.Data]);
        code.Label(ref nextLines);
        Int4StepCode.Ask(code, at.Data, at.Scales, style);
        Step(code, at, vectors, Source.Lines);
        Advance(code, at);
        code.cmp(at.Even, Field(arguments, nameof(Int4RowsArguments.EvenEnd)));
        code.jb(nextLines);
        code.jmp(wholeDone);

        code.Label(ref nextStep);
        Int4StepCode.Ask(code, at.Data, at.Scales, style);
        Step(code, at, vectors, Source.Row);
        Advance(code, at);
        code.cmp(at.Even, Field(arguments, nameof(Int4RowsArguments.EvenEnd)));
        code.jb(nextStep);

        code.Label(ref wholeDone);
        code.cmp(Field(arguments, nameof(Int4RowsArguments.RestBytes)), 0);
        code.je(rowDone);
        code.mov(at.Data, Field(arguments, nameof(Int4RowsArguments.Data)));
        code.add(at.Data, Field(arguments, nameof(Int4RowsArguments.WholeBytes)));
        Step(code, at, vectors, Source.Rest);
        code.add(at.Scales, Field(arguments, nameof(Int4RowsArguments.RestScaleBytes)));

        code.Label(ref rowDone);
        Fold(code, vectors);
        code.mov(at.Odd, Field(arguments, nameof(Int4RowsArguments.Y)));
        code.vmovss(__dword_ptr[at.Odd], vectors.Sum.Lowest());
        code.add(at.Odd, sizeof(float));
        code.mov(Field(arguments, nameof(Int4RowsArguments.Y)), at.Odd);
        code.mov(at.Odd, Field(arguments, nameof(Int4RowsArguments.RowBytes)));
        code.add(Field(arguments, nameof(Int4RowsArguments.Data)), at.Odd);
        code.dec(Field(arguments, nameof(Int4RowsArguments.Rows)));
        code.jnz(nextRow);
        code.vzeroupper();
        code.ret();
    }

    private static void Advance(Assembler code, Pointers at)
    {
        code.add(at.Data, StepBytes);
        code.add(at.Scales, StepScaleBytes);
        code.add(at.Even, StepBytes);
        code.add(at.Odd, StepBytes);
        code.add(at.ActivationScales, LineBytes);
    }

    private static void Step(Assembler code, Pointers at, Vectors v, Source source)
    {
        for (int q = 0; q < 4; q++)
        {
            AssemblerRegisterZMM sums = v.Sums[q];
            code.vpxord(sums, sums, sums);
            switch (source)
            {
                case Source.Rest:
                    code.vmovdqu8(Int4StepCode.Masked(v.Weights, q), __zmmword_ptr[at.Data + (LineBytes * q)]);
                    break;
                case Source.Lines:
                    AssemblerRegisterZMM next = v.Lines[(q + 1) & 1];
                    code.vmovdqa64(next, __zmmword_ptr[at.Data + (LineBytes * (q + 1))]);
                    code.vmovdqa64(v.Weights, v.LineOrder);
                    code.vpermi2d(v.Weights, v.Lines[q & 1], next);
                    break;
                default:
                    code.vmovdqu64(v.Weights, __zmmword_ptr[at.Data + (LineBytes * q)]);
                    break;
            }

            code.vpsrlw(v.High, v.Weights, 4);
            code.vpandd(v.Weights, v.Weights, v.Nibbles);
            code.vpandd(v.High, v.High, v.Nibbles);
            code.vpdpbusd(sums, v.Weights, __zmmword_ptr[at.Even + (64 * q)]);
            code.vpdpbusd(sums, v.High, __zmmword_ptr[at.Odd + (64 * q)]);
        }

        AssemblerRegisterZMM dots = v.Sums[0];
        code.vpackssdw(dots, dots, v.Sums[1]);
        code.vpackssdw(v.Sums[2], v.Sums[2], v.Sums[3]);
        code.vpmaddwd(dots, dots, v.Ones);
        code.vpmaddwd(v.Sums[2], v.Sums[2], v.Ones);
        code.vpackssdw(dots, dots, v.Sums[2]);
        code.vpmaddwd(dots, dots, v.Ones);
        code.vpermd(dots, v.Order, dots);
        code.vpaddd(dots, dots, __zmmword_ptr[at.ActivationScales + at.Corrections]);
        code.vcvtdq2ps(dots, dots);
        if (source == Source.Rest)
        {
            code.vpmovzxwd(v.Scale.k5.z, __ymmword_ptr[at.Scales]);
        }
        else
        {
            code.vpmovzxwd(v.Scale, __ymmword_ptr[at.Scales]);
        }

        code.vpslld(v.Scale, v.Scale, 16);
        code.vmulps(v.Scale, v.Scale, __zmmword_ptr[at.ActivationScales]);
        code.vmulps(dots, dots, v.Scale);
        code.vaddps(v.Sum, v.Sum, dots);
    }

    /// <summary>By halves, as <see cref="Kernels.LaneSum"/> says.</summary>
    private static void Fold(Assembler code, Vectors v)
    {
        AssemblerRegisterYMM sum = v.Sum.LowerHalf();
        AssemblerRegisterXMM quarter = v.Sum.Lowest();
        AssemblerRegisterXMM other = v.Weights.Lowest();
        code.vextractf64x4(v.Weights.LowerHalf(), v.Sum, 1);
        code.vaddps(sum, sum, v.Weights.LowerHalf());
        code.vextractf32x4(other, sum, 1);
        code.vaddps(quarter, quarter, other);
        code.vpermilps(other, quarter, 0b11_10_11_10);
        code.vaddps(quarter, quarter, other);
        code.vmovshdup(other, quarter);
        code.vaddss(quarter, quarter, other);
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Int4RowsArguments>(name)];

    private readonly record struct Pointers(
        AssemblerRegister64 Data, AssemblerRegister64 Scales, AssemblerRegister64 Even, AssemblerRegister64 Odd, AssemblerRegister64 ActivationScales, AssemblerRegister64 Corrections);

    private readonly record struct Vectors(
        AssemblerRegisterZMM Weights,
        AssemblerRegisterZMM Sum,
        AssemblerRegisterZMM[] Sums,
        AssemblerRegisterZMM High,
        AssemblerRegisterZMM Scale,
        AssemblerRegisterZMM Nibbles,
        AssemblerRegisterZMM Ones,
        AssemblerRegisterZMM Order,
        AssemblerRegisterZMM Columns,
        AssemblerRegisterZMM[] Lines,
        AssemblerRegisterZMM LineOrder);

    /// <summary>Where a step's weights come from.</summary>
    private enum Source
    {
        /// <summary>The row, whose vectors lie across two lines each where it is not aligned.</summary>
        Row,

        /// <summary>Whole lines, from which the vectors are put together.</summary>
        Lines,

        /// <summary>What is left of the row.</summary>
        Rest,
    }
}
