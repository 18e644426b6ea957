// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Iced.Intel;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>All functions for one calling convention, each from a cache line of its own, and where they begin.</summary>
/// <param name="Bytes">Free of absolute addresses.</param>
/// <param name="Tiles">Tile products of 1, 2, … tokens.</param>
/// <param name="Int4Rows">Products of stored INT4 rows.</param>
internal sealed record GeneratedCode(byte[] Bytes, IReadOnlyList<long> Tiles, long Int4Rows)
{
    private const int CacheLine = 64;
    private const byte Breakpoint = 0xCC;

    public static GeneratedCode Assemble(CallingConvention convention)
    {
        using var stream = new MemoryStream();
        long[] tiles = [.. Enumerable.Range(1, TileCode.MaxTokens(convention)).Select(tokens => Append(stream, code => TileCode.Write(code, convention, tokens)))];
        long int4Rows = Append(stream, code => Int4RowsCode.Write(code, convention));
        return new GeneratedCode(stream.ToArray(), tiles, int4Rows);
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
