// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>All functions for one calling convention, each from a cache line of its own, and where they begin.</summary>
/// <param name="Target">What they are written for.</param>
/// <param name="Bytes">Free of absolute addresses.</param>
/// <param name="Tiles">Tile products of 1, 2, … tokens.</param>
/// <param name="Int4">Products of stored INT4 rows with one token.</param>
/// <param name="Int4Tokens">The same with several tokens, by shape.</param>
/// <param name="BFloat16">Products of BF16 rows, by rows and tokens.</param>
/// <param name="BFloat16Pairs">Products of pairs of BF16 rows as summed dimension, of 1, 2, … tokens.</param>
/// <param name="BFloat16RowSum">The same of one token from rows as stored.</param>
/// <param name="BFloat16Scores">Products of BF16 rows with tokens in lanes, by vectors of tokens and rows, by rising vectors.</param>
/// <param name="Float8Rows">Products of FP8 rows as stored with one token.</param>
/// <param name="Float8OneRow">The same of one row.</param>
/// <param name="Float8Activations">Rounds the activations of a token for FP8 rows.</param>
internal sealed record GeneratedCode(
    CodeTarget Target,
    byte[] Bytes,
    IReadOnlyList<long> Tiles,
    long Int4,
    IReadOnlyDictionary<Int4TokensShape, long> Int4Tokens,
    IReadOnlyDictionary<BFloat16Shape, long> BFloat16,
    IReadOnlyList<long> BFloat16Pairs,
    long BFloat16RowSum,
    IReadOnlyDictionary<BFloat16ScoresShape, long> BFloat16Scores,
    long Float8Rows,
    long Float8OneRow,
    long Float8Activations)
{
    private const int CacheLine = 64;
    private const byte Breakpoint = 0xCC;

    public static GeneratedCode Assemble(CallingConvention convention, CodeTarget target)
    {
        PrefetchStyle style = target.Style;
        using var stream = new MemoryStream();
        long[] tiles = [.. Enumerable.Range(1, TileCode.MaxTokens(convention)).Select(tokens => Append(stream, code => TileCode.Write(code, convention, tokens, style)))];
        long int4 = Append(stream, code => Int4Code.Write(code, convention, target));
        var int4Tokens = Int4TokensCode.Shapes.ToDictionary(shape => shape, shape => Append(stream, code => Int4TokensCode.Write(code, convention, shape, target)));
        var bfloat16 = BFloat16Code.Shapes(convention).ToDictionary(shape => shape, shape => Append(stream, code => BFloat16Code.Write(code, convention, shape, target)));
        long[] bfloat16Pairs = [.. Enumerable.Range(1, BFloat16Code.MaxTokens(convention)).Select(tokens => Append(stream, code => BFloat16PairsCode.Write(code, convention, tokens, style)))];
        long bfloat16RowSum = Append(stream, code => BFloat16RowSumCode.Write(code, convention, style));
        var bfloat16Scores = BFloat16ScoresCode.Shapes(convention).ToDictionary(shape => shape, shape => Append(stream, code => BFloat16ScoresCode.Write(code, convention, shape)));
        long float8Rows = Append(stream, code => Float8Code.Write(code, convention, Float8Code.Rows, target));
        long float8OneRow = Append(stream, code => Float8Code.Write(code, convention, 1, target));
        long float8Activations = Append(stream, code => Float8ActivationsCode.Write(code, convention));
        return new GeneratedCode(target, stream.ToArray(), tiles, int4, int4Tokens, bfloat16, bfloat16Pairs, bfloat16RowSum, bfloat16Scores, float8Rows, float8OneRow, float8Activations);
    }

    private static long Append(MemoryStream stream, Action<Assembler> write)
    {
        while (stream.Length % CacheLine != 0)
        {
            stream.WriteByte(Breakpoint);
        }

        long offset = stream.Length;
        var assembler = new Assembler(64);
        write(assembler);

        // All jumps are relative to the function, so the address it is assembled for does not matter.
        assembler.Assemble(new StreamCodeWriter(stream), (ulong)offset);
        return offset;
    }
}
