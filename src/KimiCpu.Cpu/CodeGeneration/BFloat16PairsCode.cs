// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>
/// Writes void(<see cref="BFloat16PairsArguments"/>*): sums of rows, each times a factor of a token, for 64 columns, with
/// vdpbf16ps. A sum is one chain over pairs of rows, of which the second is added first; subnormal numbers count as zero.
/// </summary>
internal static class BFloat16PairsCode
{
    /// <summary>Most rows of a call.</summary>
    public const int Rows = KvPage.Tokens;

    /// <summary>Columns of a call.</summary>
    public const int Columns = 16 * Vectors;

    private const int Vectors = 4;
    private const int VectorBytes = 64;

    /// <summary>Cache lines that are asked for with each pair.</summary>
    private const int LinesOfPair = 2;

    /// <summary>Most bytes to move on by with each pair, so that no line is left out.</summary>
    public const int MostNextBytes = LinesOfPair * VectorBytes;

    /// <summary>The first token whose factors a second register points to.</summary>
    private const int LaterToken = 3;

    /// <summary>Bytes of a pair of rows in a block of columns.</summary>
    public const int PairBytes = Vectors * VectorBytes;

    public static void Write(Assembler code, CallingConvention convention, int tokens, PrefetchStyle style)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        AssemblerRegister64 pairs = convention.Arguments[1];
        AssemblerRegister64 factors = convention.Arguments[2];
        AssemblerRegister64 later = convention.Arguments[3];
        AssemblerRegister64 tokenBytes = convention.Arguments[4];
        AssemblerRegister64 count = convention.Scratch[0];
        AssemblerRegister64 at = convention.Scratch[1];
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] sums = [.. Enumerable.Range(0, tokens * Vectors).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM[] weights = [.. Enumerable.Range(0, Vectors).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM factor = registers.Dequeue();
        Label tile = code.CreateLabel();
        Label next = code.CreateLabel();

        code.Label(ref tile);
        code.mov(at, Field(arguments, nameof(BFloat16PairsArguments.Sums)));
        for (int i = 0; i < sums.Length; i++)
        {
            code.vmovups(sums[i], __zmmword_ptr[at + (i % Vectors * VectorBytes)]);
            if (i % Vectors == Vectors - 1)
            {
                code.add(at, Field(arguments, nameof(BFloat16PairsArguments.SumsStrideBytes)));
            }
        }

        code.mov(pairs, Field(arguments, nameof(BFloat16PairsArguments.Pairs)));
        code.mov(factors, Field(arguments, nameof(BFloat16PairsArguments.Factors)));
        code.mov(tokenBytes, Field(arguments, nameof(BFloat16PairsArguments.TokenFactorsBytes)));
        code.lea(later, __qword_ptr[tokenBytes + (tokenBytes * 2)]);
        code.add(later, factors);
        code.mov(count, Field(arguments, nameof(BFloat16PairsArguments.PairCount)));
        code.mov(at, Field(arguments, nameof(BFloat16PairsArguments.Next)));
        code.Label(ref next);
        for (int line = 0; line < LinesOfPair; line++)
        {
            StreamCode.AskForLine(code, __byte_ptr[at + (VectorBytes * line)], style);
        }

        code.add(at, Field(arguments, nameof(BFloat16PairsArguments.NextBytes)));
        for (int v = 0; v < Vectors; v++)
        {
            code.vmovdqu64(weights[v], __zmmword_ptr[pairs + (VectorBytes * v)]);
        }

        for (int token = 0; token < tokens; token++)
        {
            AssemblerRegister64 first = token < LaterToken ? factors : later;
            code.vpbroadcastd(factor, (token % LaterToken) switch { 0 => __dword_ptr[first], 1 => __dword_ptr[first + tokenBytes], _ => __dword_ptr[first + (tokenBytes * 2)] });
            for (int v = 0; v < Vectors; v++)
            {
                code.vdpbf16ps(sums[(token * Vectors) + v], factor, weights[v]);
            }
        }

        code.add(pairs, PairBytes);
        code.add(factors, Field(arguments, nameof(BFloat16PairsArguments.PairFactorsBytes)));
        code.add(later, Field(arguments, nameof(BFloat16PairsArguments.PairFactorsBytes)));
        code.dec(count);
        code.jnz(next);
        code.mov(Field(arguments, nameof(BFloat16PairsArguments.Next)), at);
        code.mov(at, Field(arguments, nameof(BFloat16PairsArguments.Sums)));
        code.mov(factors, Field(arguments, nameof(BFloat16PairsArguments.Factors)));
        for (int i = 0; i < sums.Length; i++)
        {
            code.vmovups(__zmmword_ptr[at + (i % Vectors * VectorBytes)], sums[i]);
            if (i % Vectors == Vectors - 1)
            {
                code.add(at, Field(arguments, nameof(BFloat16PairsArguments.SumsStrideBytes)));
                code.add(factors, tokenBytes);
            }
        }

        code.mov(Field(arguments, nameof(BFloat16PairsArguments.Sums)), at);
        code.mov(Field(arguments, nameof(BFloat16PairsArguments.Factors)), factors);
        code.dec(Field(arguments, nameof(BFloat16PairsArguments.Tiles)));
        code.jnz(tile);
        code.vzeroupper();
        code.ret();
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<BFloat16PairsArguments>(name)];
}
