// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Int4TokensArguments"/>*): blocks of rows of INT4 weights as stored times a fixed number of tokens.
/// A step is four groups, a vector of each row. Four rows of a step are put into an order in which each vector has one
/// doubleword of four groups, a group in each 128 bits and a row in each 32, and split into nibbles: 20 instructions, once
/// for all tokens. The same doublewords of a token are spread over the rows as they are loaded. So eight dot products (vpdpbusd) leave
/// the sums of four rows and groups as they are needed, with nothing to add up within a vector; four more instructions scale and add them.
/// Dot products and multiplications share two ports: five cycles for 512 products, of which dot products alone take four.
/// Sums lie in the first-level cache, a vector for each of four steps in turn, since a result adds up every sixteenth group by itself.
/// </summary>
internal static class Int4TokensCode
{
    /// <summary>Splitting nibbles is a fifth of the time that eight tokens take: more would gain little, for as much more code.</summary>
    public const int MostTokens = 8;

    /// <summary>One alone has a function of its own (<see cref="Int4Code"/>).</summary>
    public const int FewestTokens = 2;

    /// <summary>Packed bytes of a row, and of its scales, in a step.</summary>
    public const int StepBytes = 64;
    public const int StepScaleBytes = 8;

    private const int QuadRows = 4;
    private const int VectorBytes = 64;

    /// <summary>Steps ahead that rows are asked for once more.</summary>
    private const int StepsAhead = 3;

    /// <summary>Steps whose sums are kept apart.</summary>
    private const int Quarters = 4;

    /// <summary>Sums that are computed side by side: enough to hide how long a dot product takes.</summary>
    private const int MostSums = 8;

    /// <summary>Vectors of a half of a group: one for each doubleword of packed nibbles.</summary>
    private const int Words = 4;

    /// <summary>Rows of a block: two quads share a token's loads where there are registers for both.</summary>
    public static int BlockRows(CallingConvention convention) => QuadRows * Quads(convention);

    /// <summary>Scratch for the sums of a block.</summary>
    public static int SumBytes(CallingConvention convention, int tokens) => Quarters * Quads(convention) * tokens * VectorBytes;

    public static void Write(Assembler code, CallingConvention convention, int tokens, CodeTarget target)
    {
        int quads = Quads(convention);
        var at = new Pointers(convention.Arguments[0], convention.Arguments[1], convention.Arguments[2], convention.Arguments[3], convention.Arguments[4], convention.Scratch[0], convention.Scratch[1]);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] Take(int count) => [.. Enumerable.Range(0, count).Select(_ => registers.Dequeue())];

        // Those whose lowest part is used by itself come first: both conventions have them among the 16 of short instructions.
        AssemblerRegisterZMM[] spread = Take(2 * quads);
        AssemblerRegisterZMM[][] sums = [.. Enumerable.Range(0, quads).Select(_ => Take(MostSums / quads))];
        var v = new Vectors(
            [.. sums.Select(s => new Quad(Take(Words), Take(Words), Take(1)[0], s))],
            spread,
            NibbleCode.Take(registers, target));
        Label nextBlock = code.CreateLabel();
        Label nextStep = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label blockDone = code.CreateLabel();

        v.Nibbles.Load(code, at.Temporary);
        code.Label(ref nextBlock);
        code.mov(at.Data, at.Field(nameof(Int4TokensArguments.Data)));
        code.mov(at.Scales, at.Field(nameof(Int4TokensArguments.Scales)));
        code.mov(at.RowBytes, at.Field(nameof(Int4TokensArguments.RowBytes)));
        code.mov(at.X, at.Field(nameof(Int4TokensArguments.X)));
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.Sums)));
        Copy(code, at, nameof(Int4TokensArguments.ScaleRowBytes), nameof(Int4TokensArguments.ScaleStride));
        Copy(code, at, nameof(Int4TokensArguments.Rest), nameof(Int4TokensArguments.RestLeft));
        Clear(code, at, v, SumBytes(convention, tokens));
        Copy(code, at, nameof(Int4TokensArguments.Steps), nameof(Int4TokensArguments.StepsLeft));
        code.test(at.Temporary, at.Temporary);
        code.je(wholeDone);

        code.Label(ref nextStep);
        Step(code, at, v, tokens, target.Style);
        code.add(at.Data, StepBytes);
        code.add(at.Scales, StepScaleBytes);
        code.add(at.X, StepTiles.TokenBytes * tokens);
        code.add(at.Sums, quads * tokens * VectorBytes);
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Sums)));
        code.cmp(at.Sums, at.Field(nameof(Int4TokensArguments.SumsEnd)));
        code.cmove(at.Sums, at.Temporary);
        code.dec(at.Field(nameof(Int4TokensArguments.StepsLeft)));
        code.jnz(nextStep);

        code.Label(ref wholeDone);
        code.mov(at.Data, at.Field(nameof(Int4TokensArguments.RestLeft)));
        code.test(at.Data, at.Data);
        code.je(blockDone);
        code.mov(at.Field(nameof(Int4TokensArguments.RestLeft)), 0);
        code.mov(at.Field(nameof(Int4TokensArguments.StepsLeft)), 1);
        code.mov(at.Field(nameof(Int4TokensArguments.ScaleStride)), StepScaleBytes);
        code.mov(at.Scales, at.Field(nameof(Int4TokensArguments.RestScales)));
        code.mov(at.RowBytes, StepBytes);
        code.add(at.Field(nameof(Int4TokensArguments.Rest)), quads * QuadRows * StepBytes);
        code.add(at.Field(nameof(Int4TokensArguments.RestScales)), quads * QuadRows * StepScaleBytes);
        code.jmp(nextStep);

        code.Label(ref blockDone);
        Fold(code, at, v, tokens);
        Skip(code, at, nameof(Int4TokensArguments.RowBytes), nameof(Int4TokensArguments.Data), quads);
        Skip(code, at, nameof(Int4TokensArguments.ScaleRowBytes), nameof(Int4TokensArguments.Scales), quads);
        code.dec(at.Field(nameof(Int4TokensArguments.Blocks)));
        code.jnz(nextBlock);
        code.vzeroupper();
        code.ret();
    }

    private static int Quads(CallingConvention convention) => convention.Vectors.Count == 32 ? 2 : 1;

    private static void Copy(Assembler code, Pointers at, string source, string target)
    {
        code.mov(at.Temporary, at.Field(source));
        code.mov(at.Field(target), at.Temporary);
    }

    /// <summary>Moves a pointer to the next block.</summary>
    private static void Skip(Assembler code, Pointers at, string stride, string pointer, int quads)
    {
        code.mov(at.Temporary, at.Field(stride));
        code.shl(at.Temporary, (byte)(quads == 2 ? 3 : 2));
        code.add(at.Field(pointer), at.Temporary);
    }

    private static void Clear(Assembler code, Pointers at, Vectors v, int bytes)
    {
        AssemblerRegisterZMM zero = v.Spread[0];
        code.vpxord(zero, zero, zero);
        for (int i = 0; i < bytes; i += VectorBytes)
        {
            code.vmovdqa64(__zmmword_ptr[at.Sums + i], zero);
        }
    }

    private static void Step(Assembler code, Pointers at, Vectors v, int tokens, PrefetchStyle style)
    {
        LoadRows(code, at, v);
        LoadScales(code, at, v);
        foreach (Quad quad in v.Quads)
        {
            Arrange(code, v, quad);
        }

        // One request after each few dot products: many in a row wait for each other, and let nothing else through.
        using IEnumerator<AssemblerMemoryOperand> requests = Requests(code, at, v.Quads.Length, style).GetEnumerator();
        int between = Math.Max(1, 2 * Words * tokens / RequestCount(v.Quads.Length, style));
        bool more = true;
        int products = 0;
        var cut = new TokenTiles(MostSums / v.Quads.Length);
        for (int first = 0, count; first < tokens; first += count)
        {
            count = cut.Next(tokens - first);
            AssemblerMemoryOperand x = __zmmword_ptr[at.X + (StepTiles.TokenBytes * first)];
            for (int t = 0; t < count; t++)
            {
                code.vpshufd(v.Quads[0].Sums[t], x + ((StepTiles.TokenBytes * t) + StepTiles.FactorsAt), Spread(StepTiles.CorrectionWord));
                foreach (Quad quad in v.Quads.Skip(1))
                {
                    code.vmovdqa64(quad.Sums[t], v.Quads[0].Sums[t]);
                }
            }

            for (int i = 0; i < 2 * Words; i++)
            {
                for (int t = 0; t < count; t++)
                {
                    AssemblerRegisterZMM spread = v.Spread[products++ % v.Spread.Length];
                    code.vpshufd(spread, x + ((StepTiles.TokenBytes * t) + (i < Words ? 0 : StepTiles.OddAt)), Spread(i % Words));
                    foreach (Quad quad in v.Quads)
                    {
                        code.vpdpbusd(quad.Sums[t], i < Words ? quad.Even[i] : quad.Odd[i - Words], spread);
                    }

                    if (products % between == 0)
                    {
                        more = Ask(code, requests, style);
                    }
                }
            }

            for (int t = 0; t < count; t++)
            {
                Add(code, at, v, x + ((StepTiles.TokenBytes * t) + StepTiles.FactorsAt), t, first + t);
            }
        }

        while (more)
        {
            more = Ask(code, requests, style);
        }
    }

    private static void LoadRows(Assembler code, Pointers at, Vectors v)
    {
        int row = 0;
        foreach (AssemblerMemoryOperand address in Rows(code, at, v.Quads.Length, 0))
        {
            code.vmovdqu64(v.Quads[row / QuadRows].Even[row % QuadRows], address);
            row++;
        }
    }

    /// <summary>The rows' addresses, each of which holds until the next one is asked for: both conventions have only few registers.</summary>
    private static IEnumerable<AssemblerMemoryOperand> Rows(Assembler code, Pointers at, int quads, int offset)
    {
        for (int q = 0; q < quads; q++)
        {
            AssemblerRegister64 first = at.Data;
            if (q > 0)
            {
                code.lea(at.Temporary, __[at.Data + (at.RowBytes * QuadRows)]);
                first = at.Temporary;
            }

            yield return __zmmword_ptr[first + offset];
            yield return __zmmword_ptr[first + at.RowBytes + offset];
            yield return __zmmword_ptr[first + (at.RowBytes * 2) + offset];
            code.lea(at.Temporary, __[first + (at.RowBytes * 2)]);
            yield return __zmmword_ptr[at.Temporary + at.RowBytes + offset];
        }
    }

    /// <summary>Four scales of each of four rows, put into the order of the sums.</summary>
    private static void LoadScales(Assembler code, Pointers at, Vectors v)
    {
        code.mov(at.Temporary, at.Scales);
        for (int q = 0; q < v.Quads.Length; q++)
        {
            // The sums' registers are free until they are begun.
            AssemblerRegisterXMM[] rows = [.. Enumerable.Range(0, QuadRows).Select(r => v.Quads[q].Sums[r].Lowest())];
            for (int r = 0; r < QuadRows; r++)
            {
                code.vmovq(rows[r], __qword_ptr[at.Temporary]);
                if (r + 1 < QuadRows || q + 1 < v.Quads.Length)
                {
                    code.add(at.Temporary, at.Field(nameof(Int4TokensArguments.ScaleStride)));
                }
            }

            code.vpunpcklwd(rows[0], rows[0], rows[1]);
            code.vpunpcklwd(rows[2], rows[2], rows[3]);
            code.vpunpckhdq(rows[1], rows[0], rows[2]);
            code.vpunpckldq(rows[0], rows[0], rows[2]);
            AssemblerRegisterYMM both = v.Quads[q].Sums[0].LowerHalf();
            code.vinserti32x4(both, both, rows[1], 1);
            code.vpmovzxwd(v.Quads[q].Scale, both);
            code.vpslld(v.Quads[q].Scale, v.Quads[q].Scale, 16);
        }
    }

    /// <summary>Four rows as they were loaded to doublewords 0 … 3 of each group, in nibbles.</summary>
    private static void Arrange(Assembler code, Vectors v, Quad quad)
    {
        AssemblerRegisterZMM[] e = quad.Even, o = quad.Odd;
        code.vpunpckldq(o[0], e[0], e[1]);
        code.vpunpckhdq(o[1], e[0], e[1]);
        code.vpunpckldq(o[2], e[2], e[3]);
        code.vpunpckhdq(o[3], e[2], e[3]);
        code.vpunpcklqdq(e[0], o[0], o[2]);
        code.vpunpckhqdq(e[1], o[0], o[2]);
        code.vpunpcklqdq(e[2], o[1], o[3]);
        code.vpunpckhqdq(e[3], o[1], o[3]);
        for (int i = 0; i < Words; i++)
        {
            v.Nibbles.Upper(code, o[i], e[i]);
        }

        for (int i = 0; i < Words; i++)
        {
            v.Nibbles.Lower(code, e[i]);
        }
    }

    /// <summary>Scales a token's sums of a step and adds them to those of the steps before.</summary>
    private static void Add(Assembler code, Pointers at, Vectors v, AssemblerMemoryOperand factors, int sum, int token)
    {
        AssemblerRegisterZMM factor = v.Spread[0], product = v.Spread[1];
        code.vpshufd(factor, factors, Spread(StepTiles.ScaleWord));
        for (int q = 0; q < v.Quads.Length; q++)
        {
            Quad quad = v.Quads[q];
            code.vmulps(product, quad.Scale, factor);
            code.vcvtdq2ps(quad.Sums[sum], quad.Sums[sum]);
            code.vmulps(quad.Sums[sum], quad.Sums[sum], product);
            AssemblerMemoryOperand target = __zmmword_ptr[at.Sums + (VectorBytes * ((v.Quads.Length * token) + q))];
            code.vaddps(quad.Sums[sum], quad.Sums[sum], target);
            code.vmovaps(target, quad.Sums[sum]);
        }
    }

    /// <summary>By halves, as <see cref="LaneSum"/> says: quarters of the steps, then groups of a vector.</summary>
    private static void Fold(Assembler code, Pointers at, Vectors v, int tokens)
    {
        AssemblerRegisterZMM sum = v.Spread[0], other = v.Spread[1];
        int quads = v.Quads.Length;
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.Sums)));
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Y)));
        for (int i = 0; i < tokens * quads; i++)
        {
            AssemblerMemoryOperand Quarter(int quarter) => __zmmword_ptr[at.Sums + (VectorBytes * ((quarter * tokens * quads) + i))];
            code.vmovaps(sum, Quarter(0));
            code.vmovaps(other, Quarter(1));
            code.vaddps(sum, sum, Quarter(2));
            code.vaddps(other, other, Quarter(3));
            code.vaddps(sum, sum, other);
            code.vextractf64x4(other.LowerHalf(), sum, 1);
            code.vaddps(sum.LowerHalf(), sum.LowerHalf(), other.LowerHalf());
            code.vextractf32x4(other.Lowest(), sum.LowerHalf(), 1);
            code.vaddps(sum.Lowest(), sum.Lowest(), other.Lowest());
            code.vmovups(__xmmword_ptr[at.Temporary + (QuadRows * sizeof(float) * (i % quads))], sum.Lowest());
            if (i % quads == quads - 1)
            {
                code.add(at.Temporary, at.Field(nameof(Int4TokensArguments.YStride)));
            }
        }

        code.add(at.Field(nameof(Int4TokensArguments.Y)), quads * QuadRows * sizeof(float));
    }

    /// <summary>
    /// Lines that a step asks for: of what comes next as many as it reads, in the order of memory, and, where that may have left the first level again,
    /// those that its own rows come to soon.
    /// </summary>
    private static IEnumerable<AssemblerMemoryOperand> Requests(Assembler code, Pointers at, int quads, PrefetchStyle style)
    {
        int bytes = quads * QuadRows * StepBytes;
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Next)));
        code.add(at.Field(nameof(Int4TokensArguments.Next)), bytes);
        for (int i = 0; i < bytes; i += VectorBytes)
        {
            yield return __byte_ptr[at.Temporary + i];
        }

        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.NextScales)));
        code.add(at.Field(nameof(Int4TokensArguments.NextScales)), quads * QuadRows * StepScaleBytes);
        yield return __byte_ptr[at.Temporary];
        if (style == PrefetchStyle.EveryPage)
        {
            foreach (AssemblerMemoryOperand row in Rows(code, at, quads, StepsAhead * StepBytes))
            {
                yield return row;
            }
        }
    }

    /// <summary>How many <see cref="Requests"/> are.</summary>
    private static int RequestCount(int quads, PrefetchStyle style) => (quads * QuadRows * (style == PrefetchStyle.EveryPage ? 2 : 1)) + 1;

    /// <summary>Writes one request; false where there is none left. Where those into the second level may be dropped, they go into the first.</summary>
    private static bool Ask(Assembler code, IEnumerator<AssemblerMemoryOperand> requests, PrefetchStyle style)
    {
        if (!requests.MoveNext())
        {
            return false;
        }

        if (style == PrefetchStyle.EveryPage)
        {
            code.prefetcht0(requests.Current);
        }
        else
        {
            code.prefetcht1(requests.Current);
        }

        return true;
    }

    /// <summary>Order of vpshufd: one doubleword of each 128 bits in place of all.</summary>
    private static byte Spread(int word) => (byte)(word * 0b01_01_01_01);

    /// <param name="Arguments">Where they are.</param>
    /// <param name="Data">Weights of the step in the first row.</param>
    /// <param name="RowBytes">From row to row.</param>
    /// <param name="Scales">Of the step in the first row.</param>
    /// <param name="X">Of the step.</param>
    /// <param name="Sums">Of the step.</param>
    /// <param name="Temporary">Whatever is needed for a moment.</param>
    private readonly record struct Pointers(
        AssemblerRegister64 Arguments, AssemblerRegister64 Data, AssemblerRegister64 RowBytes, AssemblerRegister64 Scales, AssemblerRegister64 X, AssemblerRegister64 Sums, AssemblerRegister64 Temporary)
    {
        public AssemblerMemoryOperand Field(string name) => __qword_ptr[Arguments + (int)Marshal.OffsetOf<Int4TokensArguments>(name)];
    }

    /// <param name="Even">Nibbles of even columns; at first the rows as stored.</param>
    /// <param name="Odd">Those of odd ones.</param>
    /// <param name="Scale">Of four groups in four rows.</param>
    /// <param name="Sums">Of tokens.</param>
    private readonly record struct Quad(AssemblerRegisterZMM[] Even, AssemblerRegisterZMM[] Odd, AssemblerRegisterZMM Scale, AssemblerRegisterZMM[] Sums);

    private readonly record struct Vectors(Quad[] Quads, AssemblerRegisterZMM[] Spread, NibbleCode Nibbles);
}
