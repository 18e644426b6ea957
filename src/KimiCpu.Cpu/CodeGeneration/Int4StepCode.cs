// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes how a step of stored INT4 rows, four groups of 32 rows, is unpacked into the first-level cache: 204 vector instructions for 4096 weights with GFNI, of which 132 are shuffles, and 236 without.
/// Each group is left as in a <see cref="WeightTile"/>, with scales in single precision.
/// </summary>
internal static class Int4StepCode
{
    public const int Rows = WeightTile.Rows;

    /// <summary>Packed bytes of a row, and of its scales.</summary>
    public const int RowBytes = 64;
    public const int RowScaleBytes = 8;

    public const int Groups = StepTiles.Columns / Int4Group32.GroupSize;

    /// <summary>An unpacked group.</summary>
    public const int GroupBytes = WeightTile.ScalesAt + (Rows * sizeof(float));

    /// <summary>Scratch for an unpacked step.</summary>
    public const int Bytes = StoredScalesAt + (Rows * RowScaleBytes);

    /// <summary>Doublewords of a group as stored.</summary>
    public const int Words = 4;

    /// <summary>Scales as stored, behind the groups.</summary>
    private const int StoredScalesAt = Groups * GroupBytes;

    private const int VectorBytes = WeightTile.VectorBytes;
    private const int QuadRows = 4;
    private const int QuadsOfHalf = WeightTile.HalfRows / QuadRows;

    /// <summary>Places for requests: behind each quad, and twice behind each word.</summary>
    private const int RequestPlaces = 2 * (QuadsOfHalf + (2 * Words));

    /// <summary>Steps ahead that rows are asked for once more.</summary>
    private const int StepsAhead = 2;

    /// <summary>The upper of each two words.</summary>
    private static AssemblerRegisterK UpperWords => k1;

    private static AssemblerRegisterZMM UpperWordsOf(AssemblerRegisterZMM register) => register.k1.z;

    /// <summary>Fills the registers that stay.</summary>
    public static void Load(Assembler code, Int4TokensPointers at, NibbleCode nibbles)
    {
        nibbles.Load(code, at.Temporary);
        code.mov(at.Temporary.Lower(), 0xAAAAAAAA);
        code.kmovd(UpperWords, at.Temporary.Lower());
    }

    /// <param name="code">Where to.</param>
    /// <param name="at">Where the step is.</param>
    /// <param name="nibbles">As loaded.</param>
    /// <param name="vectors">Twenty that are overwritten.</param>
    /// <param name="lines">Of what comes next that are asked for meanwhile, and as many of its scales as a step has.</param>
    /// <param name="style">How.</param>
    public static void Write(Assembler code, Int4TokensPointers at, NibbleCode nibbles, AssemblerRegisterZMM[] vectors, int lines, PrefetchStyle style)
    {
        code.mov(at.Unpacked, at.Field(nameof(Int4TokensArguments.Unpacked)));
        CopyScales(code, at);
        code.mov(at.Temporary, at.Field(nameof(Int4TokensArguments.Next)));
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.NextScales)));
        AssemblerMemoryOperand[] requests =
        [
            .. Enumerable.Range(0, lines).Select(i => at.Temporary + (i * TileAhead.LineBytes)),
            .. Enumerable.Range(0, Rows * RowScaleBytes / TileAhead.LineBytes).Select(i => at.Sums + (i * TileAhead.LineBytes)),
        ];
        int place = 0;
        void Ask()
        {
            for (int i = place * requests.Length / RequestPlaces; i < (place + 1) * requests.Length / RequestPlaces; i++)
            {
                StreamCode.AskForLine(code, __byte_ptr[requests[i]], style);
            }

            place++;
        }

        code.mov(at.X, at.Data);
        UnpackHalf(code, at, nibbles, vectors, 0, Ask);
        UnpackHalf(code, at, nibbles, vectors, 1, Ask);
        System.Diagnostics.Debug.Assert(place == RequestPlaces, "All requests have found a place.");
        UnpackScales(code, at, vectors);
    }

    /// <summary>Scales of half a group.</summary>
    public static AssemblerMemoryOperand Scale(Int4TokensPointers at, int group, int half) =>
        __zmmword_ptr[at.Unpacked + ((group * GroupBytes) + WeightTile.ScalesAt + (half * VectorBytes))];

    /// <summary>
    /// Copies the rows' scales side by side, in an order of rows that <see cref="UnpackScales"/> turns into the right one. General registers do it, which have nothing
    /// else to do.
    /// </summary>
    private static void CopyScales(Assembler code, Int4TokensPointers at)
    {
        code.mov(at.X, at.Field(nameof(Int4TokensArguments.ScalesOfStep)));
        code.mov(at.Sums, at.Field(nameof(Int4TokensArguments.ScaleStride)));
        for (int row = 0; row < Rows; row++)
        {
            (int half, int r) = Math.DivRem(row, WeightTile.HalfRows);
            (int quad, int inQuad) = Math.DivRem(r, QuadRows);
            (int vector, int element) = Math.DivRem(inQuad, 2);
            int place = (((half * 2) + vector) * VectorBytes) + (((quad * 2) + element) * RowScaleBytes);
            code.mov(at.Temporary, __[at.X]);
            code.mov(__[at.Unpacked + (StoredScalesAt + place)], at.Temporary);
            if (row < Rows - 1)
            {
                code.add(at.X, at.Sums);
            }
        }
    }

    /// <summary>Sixteen rows of a step, transposed in doublewords and split into nibbles.</summary>
    private static void UnpackHalf(Assembler code, Int4TokensPointers at, NibbleCode nibbles, AssemblerRegisterZMM[] vectors, int half, Action ask)
    {
        AssemblerRegisterZMM[] rows = vectors[..WeightTile.HalfRows];
        AssemblerRegisterZMM[] spare = vectors[WeightTile.HalfRows..(WeightTile.HalfRows + Words)];
        for (int quad = 0; quad < QuadsOfHalf; quad++)
        {
            AssemblerRegisterZMM[] quadRows = rows[(quad * QuadRows)..((quad + 1) * QuadRows)];
            Load(code, quadRows[0], at.X + 0);
            Load(code, quadRows[1], at.X + at.RowBytes);
            Load(code, quadRows[2], at.X + (at.RowBytes * 2));
            code.lea(at.X, __[at.X + (at.RowBytes * 2)]);
            Load(code, quadRows[3], at.X + at.RowBytes);
            code.lea(at.X, __[at.X + (at.RowBytes * 2)]);
            TransposeQuad(code, quadRows, spare);
            ask();
        }

        for (int word = 0; word < Words; word++)
        {
            AssemblerRegisterZMM[] quads = [.. Enumerable.Range(0, QuadsOfHalf).Select(q => rows[(q * QuadRows) + word])];
            TransposeLanes(code, quads, spare);
            for (int group = 0; group < Groups; group++)
            {
                int record = (group * GroupBytes) + (half * WeightTile.HalfBytes);
                nibbles.Upper(code, spare[group], quads[group]);
                nibbles.Lower(code, quads[group]);
                code.vmovdqa64(__zmmword_ptr[at.Unpacked + (record + (word * VectorBytes))], quads[group]);
                code.vmovdqa64(__zmmword_ptr[at.Unpacked + (record + ((Words + word) * VectorBytes))], spare[group]);
                if (group % 2 == 1)
                {
                    ask();
                }
            }
        }
    }

    /// <summary>A row's part of the step. It is asked for once more shortly before, since it may have left the first level again, or not been asked for at all.</summary>
    private static void Load(Assembler code, AssemblerRegisterZMM target, AssemblerMemoryOperand address)
    {
        code.vmovdqu64(target, __zmmword_ptr[address]);
        code.prefetcht0(__byte_ptr[address + (StepsAhead * RowBytes)]);
    }

    /// <summary>Four rows to doublewords 0 … 3 of each 128 bits, a row an element.</summary>
    private static void TransposeQuad(Assembler code, AssemblerRegisterZMM[] rows, AssemblerRegisterZMM[] spare)
    {
        code.vpunpckldq(spare[0], rows[0], rows[1]);
        code.vpunpckhdq(spare[1], rows[0], rows[1]);
        code.vpunpckldq(spare[2], rows[2], rows[3]);
        code.vpunpckhdq(spare[3], rows[2], rows[3]);
        code.vpunpcklqdq(rows[0], spare[0], spare[2]);
        code.vpunpckhqdq(rows[1], spare[0], spare[2]);
        code.vpunpcklqdq(rows[2], spare[1], spare[3]);
        code.vpunpckhqdq(rows[3], spare[1], spare[3]);
    }

    /// <summary>Lanes 0 … 3 of four vectors side by side.</summary>
    private static void TransposeLanes(Assembler code, AssemblerRegisterZMM[] vectors, AssemblerRegisterZMM[] spare)
    {
        const byte LowerHalves = 0b01_00_01_00, UpperHalves = 0b11_10_11_10, EvenLanes = 0b10_00_10_00, OddLanes = 0b11_01_11_01;
        code.vshufi32x4(spare[0], vectors[0], vectors[1], LowerHalves);
        code.vshufi32x4(spare[1], vectors[2], vectors[3], LowerHalves);
        code.vshufi32x4(spare[2], vectors[0], vectors[1], UpperHalves);
        code.vshufi32x4(spare[3], vectors[2], vectors[3], UpperHalves);
        code.vshufi32x4(vectors[0], spare[0], spare[1], EvenLanes);
        code.vshufi32x4(vectors[1], spare[0], spare[1], OddLanes);
        code.vshufi32x4(vectors[2], spare[2], spare[3], EvenLanes);
        code.vshufi32x4(vectors[3], spare[2], spare[3], OddLanes);
    }

    /// <summary>The scales that <see cref="CopyScales"/> left, to groups of 32 rows in single precision.</summary>
    private static void UnpackScales(Assembler code, Int4TokensPointers at, AssemblerRegisterZMM[] vectors)
    {
        const byte EvenElements = 0b10_00_10_00, OddElements = 0b11_01_11_01;
        for (int half = 0; half < 2; half++)
        {
            AssemblerRegisterZMM first = vectors[0], pair = vectors[1], scale = vectors[2];
            int stored = StoredScalesAt + (half * 2 * VectorBytes);
            for (int group = 0; group < Groups; group += 2)
            {
                code.vmovdqa64(first, __zmmword_ptr[at.Unpacked + stored]);
                code.vshufps(pair, first, __zmmword_ptr[at.Unpacked + (stored + VectorBytes)], group == 0 ? EvenElements : OddElements);
                code.vpslld(scale, pair, 16);
                code.vmovdqa64(Scale(at, group, half), scale);
                code.vmovdqu16(UpperWordsOf(scale), pair);
                code.vmovdqa64(Scale(at, group + 1, half), scale);
            }
        }
    }
}
