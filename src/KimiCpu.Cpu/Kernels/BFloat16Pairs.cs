// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Rows of BF16 in pairs, element by element, as a product with the rows as summed dimension takes them: (columns / 64, rows
/// / 2, 64, 2), padded with zeros.
/// </summary>
internal sealed unsafe class BFloat16Pairs : IDisposable
{
    private const int VectorColumns = 32;
    private const int MostPairs = BFloat16PairsCode.Rows / 2;

    /// <summary>A pair more than there is room for: blocks a power of two apart would share the few ways of the same cache sets.</summary>
    private const int BlockBytes = (MostPairs + 1) * BFloat16PairsCode.PairBytes;

    private readonly AlignedBuffer<byte> _data = new();

    public int PairCount { get; private set; }

    /// <summary>Columns, the padding included.</summary>
    public int Columns { get; private set; }

    /// <summary>The pairs of 64 columns.</summary>
    public byte* Block(int index) => _data.Pointer + (index * BlockBytes);

    /// <summary>Takes rows as they are stored.</summary>
    /// <param name="rows">First row; any alignment.</param>
    /// <param name="rowBytes">From row to row.</param>
    /// <param name="count">1 … 64.</param>
    /// <param name="columns">Of a row.</param>
    /// <param name="next">Rows that come next, which are asked for; never read.</param>
    public void Set(byte* rows, long rowBytes, int count, int columns, byte* next)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, BFloat16PairsCode.Rows);
        PairCount = (count + 1) / 2;
        Columns = (columns + BFloat16PairsCode.Columns - 1) / BFloat16PairsCode.Columns * BFloat16PairsCode.Columns;
        _data.EnsureCapacity((long)Columns / BFloat16PairsCode.Columns * BlockBytes);
        int whole = columns / VectorColumns * VectorColumns;
        ushort* rest = stackalloc ushort[2 * VectorColumns];
        for (int pair = 0; pair < PairCount; pair++)
        {
            byte* first = rows + (2 * pair * rowBytes);
            bool hasSecond = (2 * pair) + 1 < count;
            byte* second = first + rowBytes;
            if (hasSecond)
            {
                Interleave(first, rowBytes, next - rows, whole, pair);
            }

            for (int column = hasSecond ? whole : 0; column < Columns; column += VectorColumns)
            {
                int left = Math.Clamp(columns - column, 0, VectorColumns);
                new Span<ushort>(rest, 2 * VectorColumns).Clear();
                new ReadOnlySpan<byte>(first + (2 * column), 2 * left).CopyTo(new Span<byte>(rest, 2 * left));
                if (hasSecond)
                {
                    new ReadOnlySpan<byte>(second + (2 * column), 2 * left).CopyTo(new Span<byte>(rest + VectorColumns, 2 * left));
                }

                Interleave(Vector512.Load(rest), Vector512.Load(rest + VectorColumns), Target(column, pair));
            }
        }
    }

    public void Dispose() => _data.Dispose();

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Interleave(byte* first, long rowBytes, long ahead, int columns, int pair)
    {
        for (int column = 0; column < columns; column += VectorColumns)
        {
            byte* next = first + (2 * column) + ahead;
            Prefetch.NextPage(next, VectorColumns * sizeof(ushort));
            Prefetch.NextLine(next);
            Prefetch.NextPage(next + rowBytes, VectorColumns * sizeof(ushort));
            Prefetch.NextLine(next + rowBytes);
            Interleave(Vector512.Load((ushort*)first + column), Vector512.Load((ushort*)(first + rowBytes) + column), Target(column, pair));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Interleave(Vector512<ushort> first, Vector512<ushort> second, byte* target)
    {
        Vector512<ushort> order = Vector512.Create((ushort)0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
        Avx512BW.PermuteVar32x16x2(first, order, second).Store((ushort*)target);
        Avx512BW.PermuteVar32x16x2(first, order + Vector512.Create((ushort)16), second).Store((ushort*)target + VectorColumns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* Target(int column, int pair) =>
        Block(column / BFloat16PairsCode.Columns) + (pair * BFloat16PairsCode.PairBytes) + (column % BFloat16PairsCode.Columns * 2 * sizeof(ushort));
}
