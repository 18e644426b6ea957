// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="TileArguments"/>*): the tile product for a fixed number of tokens with vpdpbusd on 512 bits. Both halves of a tile
/// for all tokens are kept in registers as int32 sums of a group and as float sums of a
/// lane; a group costs 16 dot products a token, 8 broadcasts, and eight instructions to scale and add.
/// </summary>
internal static class TileCode
{
    /// <summary>Sums of both halves as integers and floats for each token, two weight vectors, two temporaries.</summary>
    private const int FixedRegisters = 4;

    private const int RegistersPerToken = 4;

    /// <summary>Vectors of a half of a group, four columns each.</summary>
    private const int QuadsOfGroup = 8;

    /// <summary>
    /// Bytes ahead of use that a single token's weights, which come from memory, are asked for, into the second-level cache
    /// as <see cref="Int4Code"/> explains.
    /// </summary>
    private const int PrefetchDistance = 4096;

    /// <summary>
    /// Groups ahead of use that several tokens' weights and activations are asked for, from the second-level cache into the first: the dot products leave
    /// no time to wait for a line.
    /// </summary>
    private const int WeightGroupsAhead = 2;
    private const int ActivationGroupsAhead = 6;

    public static int MaxTokens(CallingConvention convention) => (convention.Vectors.Count - FixedRegisters) / RegistersPerToken;

    public static void Write(Assembler code, CallingConvention convention, int tokens, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        AssemblerRegister64 weights = convention.Arguments[1];
        AssemblerRegister64 activations = convention.Arguments[2];
        AssemblerRegister64 lanes = convention.Arguments[3];
        AssemblerRegister64 prefetch = convention.Arguments[4];
        AssemblerRegister64 block = convention.Scratch[0];
        AssemblerRegister64 lane = convention.Scratch[1];
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] integers = [.. Enumerable.Range(0, 2 * tokens).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM[] floats = [.. Enumerable.Range(0, 2 * tokens).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM weight0 = registers.Dequeue(), weight1 = registers.Dequeue(), value = registers.Dequeue(), other = registers.Dequeue();

        Label nextLane = code.CreateLabel();
        Label nextBlock = code.CreateLabel();
        code.mov(weights, Field(arguments, nameof(TileArguments.Weights)));
        code.mov(activations, Field(arguments, nameof(TileArguments.Activations)));
        code.mov(lanes, Field(arguments, nameof(TileArguments.Lanes)));
        code.mov(prefetch, Field(arguments, nameof(TileArguments.Next)));
        code.mov(lane.Lower(), LaneSum.Lanes);
        code.Label(ref nextLane);
        foreach (AssemblerRegisterZMM sum in floats)
        {
            code.vpxord(sum, sum, sum);
        }

        code.mov(block, Field(arguments, nameof(TileArguments.Blocks)));
        code.Label(ref nextBlock);
        if (tokens > 1)
        {
            Label asked = code.CreateLabel();
            AssemblerMemoryOperand bytes = Field(arguments, nameof(TileArguments.BytesOfGroup));
            Ask(code, prefetch, 0, TileAhead.FewLines);
            code.cmp(bytes, TileAhead.FewLines * TileAhead.LineBytes);
            code.je(asked);
            Ask(code, prefetch, TileAhead.FewLines, TileAhead.ManyLines);
            code.Label(ref asked);
            code.add(prefetch, bytes);
        }

        for (int t = 0; t < tokens; t++)
        {
            code.vpbroadcastd(integers[2 * t], __dword_ptr[activations + (4 * ((9 * tokens) + t))]);
            code.vmovdqa64(integers[(2 * t) + 1], integers[2 * t]);
        }

        if (tokens == 1)
        {
            if (style == PrefetchStyle.EveryPage)
            {
                PageCode.Ask(code, weights, WeightTile.RecordBytes, Prefetch.PagesAhead, prefetch);
            }

            OneToken(code, weights, activations, integers, [.. registers], weight0, weight1, style);
        }
        else
        {
            SeveralTokens(code, weights, activations, integers, weight0, weight1, value, other);
        }

        code.vpmovzxwd(weight0, __ymmword_ptr[weights + WeightTile.ScalesAt]);
        code.vpmovzxwd(weight1, __ymmword_ptr[weights + (WeightTile.ScalesAt + 32)]);
        code.vpslld(weight0, weight0, 16);
        code.vpslld(weight1, weight1, 16);
        for (int t = 0; t < tokens; t++)
        {
            AssemblerMemoryOperand scale = __dword_bcst[activations + (4 * ((8 * tokens) + t))];
            code.vmulps(value, weight0, scale);
            code.vmulps(other, weight1, scale);
            code.vcvtdq2ps(integers[2 * t], integers[2 * t]);
            code.vcvtdq2ps(integers[(2 * t) + 1], integers[(2 * t) + 1]);
            code.vfmadd231ps(floats[2 * t], integers[2 * t], value);
            code.vfmadd231ps(floats[(2 * t) + 1], integers[(2 * t) + 1], other);
        }

        code.add(weights, WeightTile.RecordBytes);
        code.add(activations, TileRecord.TokenBytes * tokens);
        code.dec(block);
        code.jnz(nextBlock);
        for (int i = 0; i < floats.Length; i++)
        {
            code.vmovups(__zmmword_ptr[lanes + (WeightTile.VectorBytes * i)], floats[i]);
        }

        code.add(lanes, WeightTile.VectorBytes * floats.Length);
        code.dec(lane);
        code.jnz(nextLane);
        code.mov(activations, Field(arguments, nameof(TileArguments.Y)));
        code.mov(arguments, Field(arguments, nameof(TileArguments.YStrideBytes)));
        TileSumCode.Fold(code, lanes, activations, arguments, tokens, convention.Vectors);
        code.vzeroupper();
        code.ret();
    }

    private static void Ask(Assembler code, AssemblerRegister64 pointer, int line, int end)
    {
        for (; line < end; line++)
        {
            code.prefetcht1(__byte_ptr[pointer + (TileAhead.LineBytes * line)]);
        }
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<TileArguments>(name)];

    /// <summary>
    /// Vectors are read in the order of memory, which the hardware follows at more than twice the rate of two halves in
    /// turn; so the eight activations stay in registers.
    /// </summary>
    private static void OneToken(
        Assembler code, AssemblerRegister64 weights, AssemblerRegister64 activations, AssemblerRegisterZMM[] integers, AssemblerRegisterZMM[] free, AssemblerRegisterZMM weight0, AssemblerRegisterZMM weight1, PrefetchStyle style)
    {
        for (int q = 0; q < QuadsOfGroup; q++)
        {
            code.vpbroadcastd(free[q], __dword_ptr[activations + (4 * q)]);
        }

        for (int i = 0; i < 2 * QuadsOfGroup; i++)
        {
            int at = i * WeightTile.VectorBytes;
            AssemblerRegisterZMM weight = (i & 1) == 0 ? weight0 : weight1;
            AskForLine(code, weights, at, style);
            code.vmovdqu64(weight, __zmmword_ptr[weights + at]);
            code.vpdpbusd(integers[i / QuadsOfGroup], weight, free[i % QuadsOfGroup]);
        }

        AskForLine(code, weights, WeightTile.ScalesAt, style);
    }

    /// <summary>Asks for what one token meets later, where not the hardware does.</summary>
    private static void AskForLine(Assembler code, AssemblerRegister64 weights, int at, PrefetchStyle style)
    {
        if (style != PrefetchStyle.EveryPage)
        {
            code.prefetcht1(__byte_ptr[weights + (at + PrefetchDistance)]);
        }

        if (style == PrefetchStyle.EveryLineTwice)
        {
            code.prefetcht0(__byte_ptr[weights + (at + WeightTile.RecordBytes)]);
        }
    }

    private static void SeveralTokens(
        Assembler code,
        AssemblerRegister64 weights,
        AssemblerRegister64 activations,
        AssemblerRegisterZMM[] integers,
        AssemblerRegisterZMM weight0,
        AssemblerRegisterZMM weight1,
        AssemblerRegisterZMM value,
        AssemblerRegisterZMM other)
    {
        int tokens = integers.Length / 2;
        for (int q = 0; q < QuadsOfGroup; q++)
        {
            int at = q * WeightTile.VectorBytes;
            code.vmovdqu64(weight0, __zmmword_ptr[weights + at]);
            code.vmovdqu64(weight1, __zmmword_ptr[weights + (at + WeightTile.HalfBytes)]);
            code.prefetcht0(__byte_ptr[weights + ((WeightGroupsAhead * WeightTile.RecordBytes) + at)]);
            code.prefetcht0(__byte_ptr[weights + ((WeightGroupsAhead * WeightTile.RecordBytes) + at + WeightTile.HalfBytes)]);
            if (at < TileRecord.TokenBytes * tokens)
            {
                code.prefetcht0(__byte_ptr[activations + ((ActivationGroupsAhead * TileRecord.TokenBytes * tokens) + at)]);
            }

            for (int t = 0; t < tokens; t++)
            {
                AssemblerRegisterZMM x = (t & 1) == 0 ? value : other;
                code.vpbroadcastd(x, __dword_ptr[activations + (4 * ((q * tokens) + t))]);
                code.vpdpbusd(integers[2 * t], weight0, x);
                code.vpdpbusd(integers[(2 * t) + 1], weight1, x);
            }
        }
    }
}
