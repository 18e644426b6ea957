// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="Int4TokensArguments"/>*): blocks of 32 rows of INT4 weights as stored times tiles of a fixed number of tokens.
/// A step is four groups, a cache line of each row. <see cref="Int4StepCode"/> unpacks it into the first-level cache, where a vector is 16 rows of four columns, so
/// that a token's four columns are broadcast as they are loaded. Then each tile takes 64 dot products (vpdpbusd) and 24 instructions to scale and add them a token.
/// Intel's two ports for all of these need 102 + 44 cycles a token for 4096 weights (unpacking by itself 132, since most of it are shuffles, which have one port only), 32 a token if
/// there were dot products only. Sums lie in memory, a vector for each lane of <see cref="LaneSum"/>; a step takes a quarter of them.
/// </summary>
internal static class Int4TokensCode
{
    /// <summary>Loading the weights is a tenth of what eight tokens load: more would gain little, for as much more code.</summary>
    public const int MostTokens = 8;

    /// <summary>One alone has a function of its own (<see cref="Int4Code"/>).</summary>
    public const int FewestTokens = 2;

    /// <summary>What there are functions for: any number of tokens by itself, and as many as tiles have that share a step.</summary>
    public static IEnumerable<Int4TokensShape> Shapes =>
    [
        .. Enumerable.Range(FewestTokens, MostTokens - FewestTokens + 1).Select(tokens => new Int4TokensShape(tokens, false)),
        .. Enumerable.Range((MostTokens / 2) + 1, MostTokens / 2).Select(tokens => new Int4TokensShape(tokens, true)),
    ];

    private const int LineBytes = TileAhead.LineBytes;

    /// <summary>Lines of weights that a step asks for: as many as it reads.</summary>
    private const int Lines = Int4StepCode.Rows * Int4StepCode.RowBytes / LineBytes;

    /// <summary>Scratch for the sums of a tile.</summary>
    public static int SumBytes(int tokens) => LaneSum.Lanes * LaneBytes(tokens);

    public static void Write(Assembler code, CallingConvention convention, Int4TokensShape shape, CodeTarget target)
    {
        int tokens = shape.Tokens;
        var at = new Int4TokensPointers(convention.Arguments[0], convention.Arguments[1], convention.Arguments[2], convention.Arguments[3], convention.Arguments[4], convention.Scratch[0], convention.Scratch[1]);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        NibbleCode nibbles = NibbleCode.Take(registers, target);
        AssemblerRegisterZMM[] vectors = [.. registers];
        Label nextBlock = code.CreateLabel();
        Label nextStep = code.CreateLabel();
        Label wholeDone = code.CreateLabel();
        Label blockDone = code.CreateLabel();

        Int4StepCode.Load(code, at, nibbles);
        Clear(code, at, vectors[0], tokens);
        code.Label(ref nextBlock);
        code.mov(at.Data, at.Field(nameof(Int4TokensArguments.Data)));
        code.mov(at.RowBytes, at.Field(nameof(Int4TokensArguments.RowBytes)));
        Copy(code, at, nameof(Int4TokensArguments.Scales), nameof(Int4TokensArguments.ScalesOfStep));
        Copy(code, at, nameof(Int4TokensArguments.ScaleRowBytes), nameof(Int4TokensArguments.ScaleStride));
        Copy(code, at, nameof(Int4TokensArguments.X), nameof(Int4TokensArguments.XOfStep));
        Copy(code, at, nameof(Int4TokensArguments.Rest), nameof(Int4TokensArguments.RestLeft));
        Copy(code, at, nameof(Int4TokensArguments.Sums), nameof(Int4TokensArguments.SumsOfStep));
        Copy(code, at, nameof(Int4TokensArguments.Steps), nameof(Int4TokensArguments.StepsLeft));
        code.test(at.Temporary, at.Temporary);
        code.je(wholeDone);

        code.Label(ref nextStep);
        Int4StepCode.Write(code, at, nibbles, vectors, LinesOfUnpacking(shape), target.Style);
        MultiplyTiles(code, at, vectors, shape, target.Style);
        MoveOn(code, at, tokens);
        code.dec(at.Field(nameof(Int4TokensArguments.StepsLeft)));
        code.jnz(nextStep);

        code.Label(ref wholeDone);
        code.mov(at.Data, at.Field(nameof(Int4TokensArguments.RestLeft)));
        code.test(at.Data, at.Data);
        code.je(blockDone);
        code.mov(at.Field(nameof(Int4TokensArguments.RestLeft)), 0);
        code.mov(at.Field(nameof(Int4TokensArguments.StepsLeft)), 1);
        code.mov(at.Field(nameof(Int4TokensArguments.ScaleStride)), Int4StepCode.RowScaleBytes);
        Copy(code, at, nameof(Int4TokensArguments.RestScales), nameof(Int4TokensArguments.ScalesOfStep));
        code.mov(at.RowBytes, Int4StepCode.RowBytes);
        code.jmp(nextStep);

        code.Label(ref blockDone);
        Fold(code, at, vectors, shape, target.Style);
        Skip(code, at, nameof(Int4TokensArguments.RowBytes), nameof(Int4TokensArguments.Data));
        Skip(code, at, nameof(Int4TokensArguments.ScaleRowBytes), nameof(Int4TokensArguments.Scales));
        code.dec(at.Field(nameof(Int4TokensArguments.Blocks)));
        code.jnz(nextBlock);
        code.vzeroupper();
        code.ret();
    }

    /// <summary>Groups whose dot products take turns, so that none waits for the one before.</summary>
    private static int GroupsTogether(int tokens) => tokens <= 4 ? 2 : 1;

    /// <summary>
    /// Lines that are asked for with each groups together, and the rest while a step is unpacked: in about equal distances of time, or memory has
    /// nothing to do in between. Two tiles share a step's lines; a third one begins with those of the next step.
    /// </summary>
    private static int LinesOfGroups(Int4TokensShape shape) => shape switch { { SeveralTiles: true } => 4, { Tokens: 2 } => 8, { Tokens: 3 or 4 } => 10, _ => 7 };

    private static int LinesOfUnpacking(Int4TokensShape shape) =>
        Lines - ((shape.SeveralTiles ? 2 : 1) * Int4StepCode.Groups / GroupsTogether(shape.Tokens) * LinesOfGroups(shape));

    /// <summary>Lines of the next step's activations that are asked for with each groups together.</summary>
    private static int XLinesOfGroups(int tokens)
    {
        int lines = StepTiles.TokenBytes / LineBytes * tokens, times = Int4StepCode.Groups / GroupsTogether(tokens);
        return (lines + times - 1) / times;
    }

    /// <summary>Sums of a lane: (tokens, 32 rows).</summary>
    private static int LaneBytes(int tokens) => Int4StepCode.Rows * sizeof(float) * tokens;

    private static void Copy(Assembler code, Int4TokensPointers at, string source, string target)
    {
        code.mov(at.Temporary, at.Field(source));
        code.mov(at.Field(target), at.Temporary);
    }

    /// <summary>Moves a pointer to the next block.</summary>
    private static void Skip(Assembler code, Int4TokensPointers at, string stride, string pointer)
    {
        code.imul(at.Temporary, at.Field(stride), Int4StepCode.Rows);
        code.add(at.Field(pointer), at.Temporary);
    }

    private static void Clear(Assembler code, Int4TokensPointers at, AssemblerRegisterZMM zero, int tokens)
    {
        Label nextLane = code.CreateLabel();
        code.vpxord(zero, zero, zero);
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.Sums)));
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Tiles)));
        code.shl(at.Temporary, (byte)BitOperations.Log2(LaneSum.Lanes));
        code.Label(ref nextLane);
        for (int i = 0; i < LaneBytes(tokens); i += WeightTile.VectorBytes)
        {
            code.vmovdqa64(__zmmword_ptr[at.Sums + i], zero);
        }

        code.add(at.Sums, LaneBytes(tokens));
        code.dec(at.Temporary);
        code.jnz(nextLane);
    }

    private static void MultiplyTiles(Assembler code, Int4TokensPointers at, AssemblerRegisterZMM[] vectors, Int4TokensShape shape, PrefetchStyle style)
    {
        int tokens = shape.Tokens;
        Label nextTile = code.CreateLabel();
        Label nextGroup = code.CreateLabel();
        code.mov(at.X, at.Field(nameof(Int4TokensArguments.XOfStep)));
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.SumsOfStep)));
        Copy(code, at, nameof(Int4TokensArguments.Tiles), nameof(Int4TokensArguments.TilesLeft));

        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Next)));
        code.add(at.Temporary, LinesOfUnpacking(shape) * LineBytes);

        code.Label(ref nextTile);
        code.lea(at.XAhead, __[at.X + (StepTiles.TokenBytes * tokens)]);
        code.mov(at.Field(nameof(Int4TokensArguments.GroupsLeft)), Int4StepCode.Groups / GroupsTogether(tokens));

        int together = GroupsTogether(tokens);
        code.Label(ref nextGroup);
        MultiplyGroups(code, at, vectors, shape, style);
        code.add(at.X, together * StepTiles.GroupBytes);
        code.add(at.Unpacked, together * Int4StepCode.GroupBytes);
        code.add(at.Sums, together * LaneBytes(tokens));
        code.add(at.Temporary, LinesOfGroups(shape) * LineBytes);
        code.add(at.XAhead, XLinesOfGroups(tokens) * LineBytes);
        code.dec(at.Field(nameof(Int4TokensArguments.GroupsLeft)));
        code.jnz(nextGroup);

        code.sub(at.Unpacked, Int4StepCode.Groups * Int4StepCode.GroupBytes);
        code.add(at.X, at.Field(nameof(Int4TokensArguments.TileBytes)));
        code.sub(at.X, Int4StepCode.Groups * StepTiles.GroupBytes);
        code.add(at.Sums, SumBytes(tokens) - (Int4StepCode.Groups * LaneBytes(tokens)));
        code.dec(at.Field(nameof(Int4TokensArguments.TilesLeft)));
        code.jnz(nextTile);
    }

    private static void MultiplyGroups(Assembler code, Int4TokensPointers at, AssemblerRegisterZMM[] vectors, Int4TokensShape shape, PrefetchStyle style)
    {
        int tokens = shape.Tokens, together = GroupsTogether(shape.Tokens);
        AssemblerRegisterZMM[] sums = vectors[..(2 * tokens * together)];
        AssemblerRegisterZMM[] free = vectors[sums.Length..];
        AssemblerRegisterZMM weight0 = free[0], weight1 = free[1], value = free[2], other = free[3];
        for (int t = 0; t < tokens * together; t++)
        {
            code.vpbroadcastd(sums[2 * t], __dword_ptr[Factors(at, t / tokens, t % tokens) + (StepTiles.CorrectionWord * sizeof(int))]);
            code.vmovdqa64(sums[(2 * t) + 1], sums[2 * t]);
        }

        // The next step's activations come from the second level, and would wait there behind what comes from memory.
        for (int line = 0; line < XLinesOfGroups(tokens); line++)
        {
            code.prefetcht0(__byte_ptr[at.XAhead + (line * LineBytes)]);
        }

        int words = 2 * Int4StepCode.Words * together, lines = LinesOfGroups(shape);
        for (int i = 0; i < words; i++)
        {
            (int word, int group) = Math.DivRem(i, together);
            int weights = (group * Int4StepCode.GroupBytes) + (word * WeightTile.VectorBytes);
            code.vmovdqa64(weight0, __zmmword_ptr[at.Unpacked + weights]);
            code.vmovdqa64(weight1, __zmmword_ptr[at.Unpacked + (weights + WeightTile.HalfBytes)]);
            for (int t = 0; t < tokens; t++)
            {
                AssemblerRegisterZMM x = (t & 1) == 0 ? value : other;
                int sum = 2 * ((group * tokens) + t);
                int place = (StepTiles.TokenBytes * t) + (StepTiles.GroupBytes * group) + (word < Int4StepCode.Words ? 0 : StepTiles.OddAt) + (word % Int4StepCode.Words * sizeof(int));
                code.vpbroadcastd(x, __dword_ptr[at.X + place]);
                code.vpdpbusd(sums[sum], weight0, x);
                code.vpdpbusd(sums[sum + 1], weight1, x);
            }

            // One request after each few dot products: many in a row wait for each other, and let nothing else through.
            for (int line = i * lines / words; line < (i + 1) * lines / words; line++)
            {
                StreamCode.AskForLine(code, __byte_ptr[at.Temporary + (line * LineBytes)], style);
            }
        }

        for (int t = 0; t < tokens * together; t++)
        {
            (int group, int token) = Math.DivRem(t, tokens);
            code.vbroadcastss(other, __dword_ptr[Factors(at, group, token) + (StepTiles.ScaleWord * sizeof(float))]);
            for (int half = 0; half < 2; half++)
            {
                AssemblerRegisterZMM sum = sums[(2 * t) + half];
                AssemblerMemoryOperand lane = __zmmword_ptr[at.Sums + (((2 * t) + half) * WeightTile.VectorBytes)];
                code.vmulps(value, other, Int4StepCode.Scale(at, group, half));
                code.vcvtdq2ps(sum, sum);
                code.vfmadd213ps(sum, value, lane);
                code.vmovaps(lane, sum);
            }
        }
    }

    private static AssemblerMemoryOperand Factors(Int4TokensPointers at, int group, int token) => at.X + ((StepTiles.TokenBytes * token) + (StepTiles.GroupBytes * group) + StepTiles.FactorsAt);

    /// <summary>To the next step.</summary>
    private static void MoveOn(Assembler code, Int4TokensPointers at, int tokens)
    {
        code.add(at.Data, Int4StepCode.RowBytes);
        code.mov(at.RowBytes, at.Field(nameof(Int4TokensArguments.RowBytes)));
        code.add(at.Field(nameof(Int4TokensArguments.ScalesOfStep)), Int4StepCode.RowScaleBytes);
        code.add(at.Field(nameof(Int4TokensArguments.XOfStep)), StepTiles.TokenBytes * tokens);
        code.add(at.Field(nameof(Int4TokensArguments.Next)), Int4StepCode.Rows * Int4StepCode.RowBytes);
        code.add(at.Field(nameof(Int4TokensArguments.NextScales)), Int4StepCode.Rows * Int4StepCode.RowScaleBytes);

        // Each four steps come to all lanes once.
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.SumsOfStep)));
        code.add(at.Sums, Int4StepCode.Groups * LaneBytes(tokens));
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Sums)));
        code.lea(at.X, __[at.Temporary + SumBytes(tokens)]);
        code.cmp(at.Sums, at.X);
        code.cmove(at.Sums, at.Temporary);
        code.mov(at.Field(nameof(Int4TokensArguments.SumsOfStep)), at.Sums);
    }

    /// <summary>The results of all tiles, whose sums become zero for the next block.</summary>
    private static void Fold(Assembler code, Int4TokensPointers at, AssemblerRegisterZMM[] vectors, Int4TokensShape shape, PrefetchStyle style)
    {
        int tokens = shape.Tokens, lines = shape.SeveralTiles ? Lines / 2 : Lines;
        Label nextTile = code.CreateLabel();
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.Sums)));
        code.mov(at.X, at.Field(nameof(Int4TokensArguments.Y)));
        code.mov(at.RowBytes, at.Field(nameof(Int4TokensArguments.YStride)));
        code.mov(at.Data, at.Field(nameof(Int4TokensArguments.Next)));
        code.vpxord(vectors[0], vectors[0], vectors[0]);
        Copy(code, at, nameof(Int4TokensArguments.Tiles), nameof(Int4TokensArguments.TilesLeft));
        code.Label(ref nextTile);
        code.mov(at.Temporary, __[at.X]);
        code.add(__qword_ptr[at.X], Int4StepCode.Rows * sizeof(float));
        code.add(at.X, sizeof(long));
        code.add(at.Sums, SumBytes(tokens));
        int vector = 0;
        TileSumCode.Fold(code, at.Sums, at.Temporary, at.RowBytes, tokens, vectors[1..], vectors[0], () =>
        {
            // Memory has something to do meanwhile; the next step asks for the same once more.
            for (int line = vector * lines / (2 * tokens); line < (vector + 1) * lines / (2 * tokens); line++)
            {
                StreamCode.AskForLine(code, __byte_ptr[at.Data + (line * LineBytes)], style);
            }

            vector++;
        });
        code.add(at.Sums, SumBytes(tokens) / 2);
        code.add(at.Data, lines * LineBytes);
        code.dec(at.Field(nameof(Int4TokensArguments.TilesLeft)));
        code.jnz(nextTile);
    }
}
