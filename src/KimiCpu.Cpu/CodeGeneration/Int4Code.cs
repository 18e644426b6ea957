// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Int4Arguments"/>*): rows of INT4 weights as stored times one token. A step of 512
/// columns is 256 packed bytes: four vectors of four groups, split into nibbles. Two dot products
/// (vpdpbusd) of each leave four sums of at most 15240 for each group. Those fit into 16 bits, so saturating packs and
/// multiply-adds with ones bring 16 groups into 16 lanes in six instructions. Packing leaves group 4 q + l of a step at 4 l + q,
/// from where it is brought back. Rows that do not begin with a cache line are read as <see cref="WholeLines"/>, if all of
/// them lie alike. Rows without a rest are folded four at a time, but go through one loop all the same: the hardware's prefetch
/// follows single instructions, and with a loop for each of the four rows memory delivered 0.6 of that (Zen 5).
/// </summary>
internal static class Int4Code
{
    /// <summary>Rows that are folded together.</summary>
    public const int RowsOfQuad = 4;

    private const int VectorsOfStep = 4;
    private const int LineBytes = 64;
    private const int StepBytes = VectorsOfStep * LineBytes;
    private const int ScaleBytes = 32;

    /// <summary>Bytes from one token's even columns to its odd ones for each from its scales to its corrections: 16 and 4 a group.</summary>
    private const int OddOfCorrections = 4;

    /// <summary>Bytes of scales for each vector.</summary>
    private const int ScaleBytesOfVector = ScaleBytes / VectorsOfStep;

    /// <summary>
    /// Bytes ahead that weights and scales are asked for, into the second-level cache: requests to the first level hold its
    /// few miss buffers for as long as memory takes, and bind a core to half of its bandwidth.
    /// </summary>
    private const int PrefetchDistance = 6144;
    private const int ScalePrefetchDistance = 2048;

    /// <summary>
    /// The same with <see cref="PrefetchStyle.EveryLineTwice"/>, whose nearer requests are for lines that are in the second-level cache by then (Emerald Rapids; 2 and 4 KB are as good, 1 KB is not).
    /// </summary>
    private const int FarDistance = 8192;
    private const int NearDistance = 3072;
    private const int NearScaleDistance = 1024;

    public static void Write(Assembler code, CallingConvention convention, CodeTarget target)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        var at = new Pointers(convention.Arguments[1], convention.Arguments[2], convention.Arguments[3], convention.Arguments[4], convention.Scratch[0], convention.Scratch[1]);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => registers.Dequeue())];

        // Those whose lowest part is used by itself come first: both conventions have them among the 16 of short instructions.
        var vectors = new Vectors(registers.Dequeue(), Take(VectorsOfStep), Take(VectorsOfStep), registers.Dequeue(), NibbleCode.Take(registers, target), registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), registers.Dequeue(), Take(RowsOfQuad));
        Label[] rests = [.. Enumerable.Range(0, VectorsOfStep).Select(_ => code.CreateLabel())];
        Label quadsAsTheyLie = code.CreateLabel();
        Label singleRows = code.CreateLabel();
        Label nextRow = code.CreateLabel();
        Label rowAsItLies = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label rowDone = code.CreateLabel();
        Label done = code.CreateLabel();

        vectors.Nibbles.Load(code, at.Data);
        code.mov(at.Data.Lower(), 0x00010001);
        code.vpbroadcastd(vectors.Ones, at.Data.Lower());
        Int4RestMasks.Load(code, arguments, Marshal.OffsetOf<Int4Arguments>(nameof(Int4Arguments.Rest)));
        code.mov(at.Data, Field(arguments, nameof(Int4Arguments.QuadData)));
        WholeLines.SetOrder(code, at.Data, vectors.LineOrder, vectors.Order, vectors.Scale.Lowest(), vectors.Products[0].Lowest(), at.Row);
        LaneNumbers.Transposed(code, vectors.Order, vectors.Scale.Lowest(), vectors.Products[0].Lowest(), at.Row);
        code.mov(at.Scales, Field(arguments, nameof(Int4Arguments.Scales)));
        code.mov(at.Parts, Field(arguments, nameof(Int4Arguments.CorrectionsAt)));
        code.cmp(Field(arguments, nameof(Int4Arguments.Quads)), 0);
        code.je(singleRows);
        code.cmp(Field(arguments, nameof(Int4Arguments.TakesLines)), 0);
        code.je(quadsAsTheyLie);
        BeginLines(code, at, vectors);
        Quads(code, at, vectors, arguments, Source.Lines, target.Style, code.CreateLabel());
        code.jmp(singleRows);
        Quads(code, at, vectors, arguments, Source.Row, target.Style, quadsAsTheyLie);

        code.Label(ref singleRows);
        code.cmp(Field(arguments, nameof(Int4Arguments.Rows)), 0);
        code.je(done);
        code.mov(at.Row, Field(arguments, nameof(Int4Arguments.Data)));
        code.Label(ref nextRow);
        code.mov(at.Data, at.Row);
        BeginRow(code, at, vectors, arguments);
        code.cmp(at.X, Field(arguments, nameof(Int4Arguments.XEnd)));
        code.jae(wholeDone);
        code.cmp(Field(arguments, nameof(Int4Arguments.TakesLines)), 0);
        code.je(rowAsItLies);
        BeginLines(code, at, vectors);
        Steps(code, at, vectors, arguments, Source.Lines, target.Style, code.CreateLabel());
        code.jmp(wholeDone);
        Steps(code, at, vectors, arguments, Source.Row, target.Style, rowAsItLies);

        code.Label(ref wholeDone);
        code.mov(at.Data, Field(arguments, nameof(Int4Arguments.RestScaleBytes)));
        code.test(at.Data, at.Data);
        code.je(rowDone);
        for (int vector = 1; vector < VectorsOfStep; vector++)
        {
            code.cmp(at.Data, ScaleBytesOfVector * vector);
            code.jbe(rests[vector - 1]);
        }

        for (int vector = VectorsOfStep; vector > 0; vector--)
        {
            code.Label(ref rests[vector - 1]);
            code.mov(at.Data, at.Row);
            code.add(at.Data, Field(arguments, nameof(Int4Arguments.WholeBytes)));
            Step(code, at, vectors, Source.Rest, vector);
            code.add(at.Scales, Field(arguments, nameof(Int4Arguments.RestScaleBytes)));
            if (vector > 1)
            {
                code.jmp(rowDone);
            }
        }

        code.Label(ref rowDone);
        code.mov(at.X, Field(arguments, nameof(Int4Arguments.Y)));
        code.vmovss(__dword_ptr[at.X], LaneSumCode.Fold(code, vectors.Sum, vectors.Products[0], vectors.Products[1]));
        code.add(at.X, sizeof(float));
        code.mov(Field(arguments, nameof(Int4Arguments.Y)), at.X);
        code.add(at.Row, Field(arguments, nameof(Int4Arguments.RowBytes)));
        code.dec(Field(arguments, nameof(Int4Arguments.Rows)));
        code.jnz(nextRow);
        code.Label(ref done);
        code.vzeroupper();
        code.ret();
    }

    /// <summary>Rows that steps fill lie one behind another, so that only activations begin anew with each.</summary>
    /// <param name="code">Receives the instructions.</param>
    /// <param name="at">Where the first row is.</param>
    /// <param name="v">Registers.</param>
    /// <param name="arguments">What the function reads.</param>
    /// <param name="source">Where weights come from.</param>
    /// <param name="style">How they are asked for.</param>
    /// <param name="nextQuad">Is where the loop begins.</param>
    private static void Quads(Assembler code, Pointers at, Vectors v, AssemblerRegister64 arguments, Source source, PrefetchStyle style, Label nextQuad)
    {
        Label nextRow = code.CreateLabel();
        code.Label(ref nextQuad);
        code.mov(at.Row.Lower(), RowsOfQuad);
        code.Label(ref nextRow);
        for (int i = RowsOfQuad - 1; i > 0; i--)
        {
            code.vmovaps(v.Sums[i], v.Sums[i - 1]);
        }

        BeginRow(code, at, v, arguments);
        Steps(code, at, v, arguments, source, style, code.CreateLabel());
        code.dec(at.Row.Lower());
        code.jnz(nextRow);
        code.mov(at.X, Field(arguments, nameof(Int4Arguments.Y)));
        code.vmovups(__xmmword_ptr[at.X], LaneSumCode.FoldFour(code, [.. v.Sums.Reverse()], v.Products, v.Order));
        code.add(at.X, RowsOfQuad * sizeof(float));
        code.mov(Field(arguments, nameof(Int4Arguments.Y)), at.X);
        code.dec(Field(arguments, nameof(Int4Arguments.Quads)));
        code.jnz(nextQuad);
    }

    private static void BeginRow(Assembler code, Pointers at, Vectors v, AssemblerRegister64 arguments)
    {
        code.mov(at.X, Field(arguments, nameof(Int4Arguments.X)));
        code.mov(at.XScales, Field(arguments, nameof(Int4Arguments.XScales)));
        code.vpxord(v.Sum, v.Sum, v.Sum);
    }

    private static void BeginLines(Assembler code, Pointers at, Vectors v)
    {
        code.and(at.Data, -LineBytes);
        code.vmovdqa64(v.Line, __zmmword_ptr[at.Data]);
    }

    /// <summary>The whole steps of a row, in a loop that begins at <paramref name="next"/>.</summary>
    private static void Steps(Assembler code, Pointers at, Vectors v, AssemblerRegister64 arguments, Source source, PrefetchStyle style, Label next)
    {
        code.Label(ref next);
        Ask(code, at, style);
        Step(code, at, v, source, VectorsOfStep);
        code.add(at.Data, StepBytes);
        code.add(at.Scales, ScaleBytes);
        code.add(at.X, StepBytes);
        code.add(at.XScales, LineBytes);
        code.cmp(at.X, Field(arguments, nameof(Int4Arguments.XEnd)));
        code.jb(next);
    }

    /// <summary>Asks for what comes later, with each step.</summary>
    private static void Ask(Assembler code, Pointers at, PrefetchStyle style)
    {
        if (style == PrefetchStyle.EveryPage)
        {
            PageCode.Ask(code, at.Data, StepBytes, Prefetch.PagesAhead);
            PageCode.Ask(code, at.Scales, ScaleBytes, Prefetch.PageBytes);
            return;
        }

        if (style == PrefetchStyle.EveryLineTwice)
        {
            code.prefetcht0(__byte_ptr[at.Scales + NearScaleDistance]);
            for (int line = 0; line < StepBytes; line += LineBytes)
            {
                code.prefetcht1(__byte_ptr[at.Data + (line + FarDistance)]);
                code.prefetcht0(__byte_ptr[at.Data + (line + NearDistance)]);
            }

            return;
        }

        code.prefetcht1(__byte_ptr[at.Scales + ScalePrefetchDistance]);
        for (int line = 0; line < StepBytes; line += LineBytes)
        {
            code.prefetcht1(__byte_ptr[at.Data + (line + PrefetchDistance)]);
        }
    }

    /// <param name="code">Receives the instructions.</param>
    /// <param name="at">Where the step is.</param>
    /// <param name="v">Registers.</param>
    /// <param name="source">Where its weights come from.</param>
    /// <param name="count">Vectors that there are; what would be in the others is zero.</param>
    private static void Step(Assembler code, Pointers at, Vectors v, Source source, int count)
    {
        if (source == Source.Lines)
        {
            code.vmovdqa64(v.Even[0], v.Line);
        }

        // Products come in between: loads of weights side by side cost a tenth of the speed from memory.
        for (int q = 0; q < VectorsOfStep; q++)
        {
            if (q < count)
            {
                Split(code, at, v, source, q, count);
            }

            Multiply(code, at, v, q, count);
        }

        code.vpmovzxwd(source == Source.Rest ? v.Scale.k5.z : v.Scale, __ymmword_ptr[at.Scales]);
        code.vpslld(v.Scale, v.Scale, 16);
        Add(code, at, v);
    }

    /// <summary>Loads a vector of weights and splits it into nibbles.</summary>
    private static void Split(Assembler code, Pointers at, Vectors v, Source source, int q, int count)
    {
        AssemblerMemoryOperand weights = __zmmword_ptr[at.Data + (LineBytes * q)];
        switch (source)
        {
            case Source.Lines:
                // The line that a vector begins in gives its register away to the vector.
                AssemblerRegisterZMM next = q + 1 < count ? v.Even[q + 1] : v.Line;
                code.vmovdqa64(next, weights + LineBytes);
                code.vpermt2d(v.Even[q], v.LineOrder, next);
                break;
            case Source.Row:
                code.vmovdqu64(v.Even[q], weights);
                break;
            default:
                code.vmovdqu8(Masked(v.Even[q], q), weights);
                break;
        }

        v.Nibbles.Upper(code, v.Odd, v.Even[q]);
        v.Nibbles.Lower(code, v.Even[q]);
    }

    private static void Multiply(Assembler code, Pointers at, Vectors v, int q, int count)
    {
        AssemblerRegisterZMM product = v.Products[q];
        code.vpxord(product, product, product);
        if (q < count)
        {
            code.vpdpbusd(product, v.Even[q], __zmmword_ptr[at.X + (LineBytes * q)]);
            code.vpdpbusd(product, v.Odd, __zmmword_ptr[at.X + (at.Parts * OddOfCorrections) + (LineBytes * q)]);
        }
    }

    /// <summary>Adds the products of a step to the sums.</summary>
    private static void Add(Assembler code, Pointers at, Vectors v)
    {
        AssemblerRegisterZMM[] p = v.Products;
        code.vpackssdw(p[0], p[0], p[1]);
        code.vpackssdw(p[2], p[2], p[3]);
        code.vpmaddwd(p[0], p[0], v.Ones);
        code.vpmaddwd(p[2], p[2], v.Ones);
        code.vmovdqu64(p[1], __zmmword_ptr[at.XScales + at.Parts]);
        code.vpackssdw(p[0], p[0], p[2]);
        code.vpermd(p[0], v.Order, p[0]);
        code.vmulps(p[3], v.Scale, __zmmword_ptr[at.XScales]);
        code.vpdpwssd(p[1], p[0], v.Ones);
        code.vcvtdq2ps(p[1], p[1]);
        code.vfmadd231ps(v.Sum, p[1], p[3]);
    }

    /// <summary>With the mask of a quarter of a row's rest, as <see cref="Int4RestMasks.Load"/> leaves it: elements that are masked out are zero and are not read.</summary>
    private static AssemblerRegisterZMM Masked(AssemblerRegisterZMM register, int quarter) => quarter switch
    {
        0 => register.k1.z,
        1 => register.k2.z,
        2 => register.k3.z,
        _ => register.k4.z,
    };

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<Int4Arguments>(name)];

    /// <param name="Data">Weights of the step.</param>
    /// <param name="Scales">Their scales.</param>
    /// <param name="X">Even columns.</param>
    /// <param name="Row">Where the row begins; in a quad, how many rows of it are left.</param>
    /// <param name="XScales">Scales of the activations.</param>
    /// <param name="Parts">Bytes from those to the corrections, a quarter of those from even to odd columns.</param>
    private readonly record struct Pointers(
        AssemblerRegister64 Data, AssemblerRegister64 Scales, AssemblerRegister64 X, AssemblerRegister64 Row, AssemblerRegister64 XScales, AssemblerRegister64 Parts);

    /// <param name="Scale">Of 16 groups.</param>
    /// <param name="Products">Of a step's vectors.</param>
    /// <param name="Even">Nibbles of even columns; at first the vectors as stored.</param>
    /// <param name="Odd">Those of odd ones.</param>
    /// <param name="Nibbles">How vectors are split.</param>
    /// <param name="Ones">1 in each 16 bits.</param>
    /// <param name="Order">Brings groups back into their order.</param>
    /// <param name="LineOrder">Puts a vector together from two lines.</param>
    /// <param name="Line">The one that the next vector begins in.</param>
    /// <param name="Sums">Of the row, and in a quad of those before it.</param>
    private readonly record struct Vectors(
        AssemblerRegisterZMM Scale,
        AssemblerRegisterZMM[] Products,
        AssemblerRegisterZMM[] Even,
        AssemblerRegisterZMM Odd,
        NibbleCode Nibbles,
        AssemblerRegisterZMM Ones,
        AssemblerRegisterZMM Order,
        AssemblerRegisterZMM LineOrder,
        AssemblerRegisterZMM Line,
        AssemblerRegisterZMM[] Sums)
    {
        public AssemblerRegisterZMM Sum => Sums[0];
    }

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
