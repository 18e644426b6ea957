// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace KimiCpu.Cpu.CodeGeneration;

/// <summary>How many vectors of 16 queries and how many keys a function takes at once.</summary>
internal readonly record struct BFloat16ScoresShape(int Vectors, int Keys);

/// <summary>
/// Writes void(<see cref="BFloat16ScoresArguments"/>*): BF16 keys as stored times queries rounded to BF16, which lie side by side in the
/// lanes of vectors, with vdpbf16ps. A score is one chain over pairs of columns, of which the second is added first, so nothing
/// is left to fold; subnormal numbers count as zero.
/// </summary>
internal static class BFloat16ScoresCode
{
    /// <summary>Queries that there is room for.</summary>
    public const int Lanes = MostVectors * VectorLanes;

    public const int VectorLanes = 16;

    private const int MostVectors = 4;

    /// <summary>Enough sums for two products a cycle that each take six.</summary>
    private const int MostKeys = 12;

    private const int KeysOfPointer = 4;
    private const int VectorBytes = 64;
    private const int PairBytes = 2 * sizeof(ushort);

    /// <summary>Words of whole doublewords' lower halves.</summary>
    private const int LowerWords = 0x55555555;

    /// <summary>For each number of vectors: as many keys as registers have sums for, and a single one.</summary>
    public static IEnumerable<BFloat16ScoresShape> Shapes(CallingConvention convention)
    {
        for (int vectors = 1; vectors <= MostVectors; vectors++)
        {
            yield return new(vectors, Math.Min(MostKeys, (convention.Vectors.Count - vectors - 1) / vectors));
            yield return new(vectors, 1);
        }
    }

    public static void Write(Assembler code, CallingConvention convention, BFloat16ScoresShape shape)
    {
        AssemblerRegister64 arguments = convention.Arguments[0];
        AssemblerRegister64 queries = convention.Arguments[1];
        RowPointers[] keys = Pointers(convention, shape.Keys);
        var registers = new Queue<AssemblerRegisterZMM>(convention.Vectors);
        AssemblerRegisterZMM[] sums = [.. Enumerable.Range(0, shape.Vectors * shape.Keys).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM[] query = [.. Enumerable.Range(0, shape.Vectors).Select(_ => registers.Dequeue())];
        AssemblerRegisterZMM key = registers.Dequeue();
        Label tile = code.CreateLabel();
        Label pair = code.CreateLabel();
        Label pairsDone = code.CreateLabel();
        Label done = code.CreateLabel();

        code.mov(queries, LowerWords);
        code.kmovq(k1, queries);
        code.Label(ref tile);
        foreach (AssemblerRegisterZMM sum in sums)
        {
            code.vpxord(sum, sum, sum);
        }

        Point(code, arguments, keys);
        code.mov(queries, Field(arguments, nameof(BFloat16ScoresArguments.Queries)));
        code.cmp(queries, Field(arguments, nameof(BFloat16ScoresArguments.QueriesEnd)));
        code.jae(pairsDone);
        code.Label(ref pair);
        Step(isOdd: false);
        code.add(queries, shape.Vectors * VectorBytes);
        foreach (RowPointers pointer in keys)
        {
            code.add(pointer.First, PairBytes);
        }

        code.cmp(queries, Field(arguments, nameof(BFloat16ScoresArguments.QueriesEnd)));
        code.jb(pair);
        code.Label(ref pairsDone);
        code.cmp(Field(arguments, nameof(BFloat16ScoresArguments.OddColumns)), 0);
        code.je(done);
        Step(isOdd: true);
        code.Label(ref done);

        code.mov(queries, Field(arguments, nameof(BFloat16ScoresArguments.Scores)));
        for (int i = 0; i < sums.Length; i++)
        {
            code.vmovups(__zmmword_ptr[queries + (i / shape.Vectors * Lanes * sizeof(float)) + (i % shape.Vectors * VectorBytes)], sums[i]);
        }

        code.add(Field(arguments, nameof(BFloat16ScoresArguments.Scores)), shape.Keys * Lanes * sizeof(float));
        code.imul(queries, Field(arguments, nameof(BFloat16ScoresArguments.KeyBytes)), shape.Keys);
        code.add(Field(arguments, nameof(BFloat16ScoresArguments.Keys)), queries);
        code.dec(Field(arguments, nameof(BFloat16ScoresArguments.Tiles)));
        code.jnz(tile);
        code.vzeroupper();
        code.ret();

        void Step(bool isOdd)
        {
            for (int v = 0; v < shape.Vectors; v++)
            {
                code.vmovdqu64(query[v], __zmmword_ptr[queries + (VectorBytes * v)]);
            }

            for (int i = 0; i < shape.Keys; i++)
            {
                AssemblerMemoryOperand at = keys[i / KeysOfPointer][i % KeysOfPointer];
                if (isOdd)
                {
                    code.vpbroadcastw(key.k1.z, __word_ptr[at]);
                }
                else
                {
                    code.vpbroadcastd(key, __dword_ptr[at]);
                }

                for (int v = 0; v < shape.Vectors; v++)
                {
                    code.vdpbf16ps(sums[(i * shape.Vectors) + v], query[v], key);
                }
            }
        }
    }

    private static RowPointers[] Pointers(CallingConvention convention, int keys)
    {
        AssemblerRegister64[] first = [convention.Arguments[4], .. convention.Scratch];
        return [.. first.Take((keys + KeysOfPointer - 1) / KeysOfPointer).Select(r => new RowPointers(r, convention.Arguments[2], convention.Arguments[3]))];
    }

    private static void Point(Assembler code, AssemblerRegister64 arguments, RowPointers[] keys)
    {
        code.mov(keys[0].Stride, Field(arguments, nameof(BFloat16ScoresArguments.KeyBytes)));
        keys[0].Complete(code);
        code.mov(keys[0].First, Field(arguments, nameof(BFloat16ScoresArguments.Keys)));
        for (int i = 1; i < keys.Length; i++)
        {
            code.lea(keys[i].First, __qword_ptr[keys[i - 1].First + (keys[i - 1].Stride * KeysOfPointer)]);
        }
    }

    private static AssemblerMemoryOperand Field(AssemblerRegister64 arguments, string name) =>
        __qword_ptr[arguments + (int)Marshal.OffsetOf<BFloat16ScoresArguments>(name)];
}
