// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Queries rounded to BF16, side by side in the lanes of vectors: (pairs of columns, vectors, 16, 2). What is behind the last query, and
/// behind an odd last column, is zero.
/// </summary>
/// <param name="columns">Of a query.</param>
internal sealed unsafe class BFloat16Queries(int columns) : IDisposable
{
    private const int VectorLanes = BFloat16ScoresCode.VectorLanes;
    private const int VectorBytes = VectorLanes * sizeof(uint);

    /// <summary>Pairs of columns that are transposed at once.</summary>
    private const int BlockPairs = VectorLanes;

    private readonly int _blocks = ((columns + 1) / 2 + BlockPairs - 1) / BlockPairs;
    private readonly AlignedBuffer<ushort> _rounded = new(VectorLanes * PaddedColumns(columns));
    private readonly AlignedBuffer<byte> _data = new((long)BFloat16ScoresCode.Lanes * PaddedColumns(columns) * sizeof(ushort));

    public int Columns => columns;

    public int Vectors { get; private set; }

    /// <summary>Columns 2 <paramref name="pair"/> and the next one of all queries.</summary>
    public ushort* Pair(int pair) => (ushort*)(_data.Pointer + ((long)pair * Vectors * VectorBytes));

    /// <param name="query">(rows, heads, columns).</param>
    /// <param name="stride">Floats from row to row.</param>
    /// <param name="heads">At least 1.</param>
    /// <param name="count">Rows times heads; at most <see cref="BFloat16ScoresCode.Lanes"/>.</param>
    public void Set(float* query, long stride, int heads, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, BFloat16ScoresCode.Lanes);
        Vectors = (count + VectorLanes - 1) / VectorLanes;
        int padded = PaddedColumns(columns);
        for (int vector = 0; vector < Vectors; vector++)
        {
            for (int lane = 0; lane < VectorLanes; lane++)
            {
                int index = (vector * VectorLanes) + lane;
                ushort* row = _rounded.Pointer + (lane * padded);
                int present = index < count ? columns : 0;
                BFloat16Rounding.Round(query + (index / heads * stride) + (index % heads * (long)columns), present, row);
                new Span<ushort>(row + present, padded - present).Clear();
            }

            for (int block = 0; block < _blocks; block++)
            {
                Transpose((byte*)_rounded.Pointer + (block * VectorBytes), padded * sizeof(ushort), (byte*)Pair(block * BlockPairs) + (vector * VectorBytes), Vectors * VectorBytes);
            }
        }
    }

    public void Dispose()
    {
        _rounded.Dispose();
        _data.Dispose();
    }

    private static int PaddedColumns(int columns) => (columns + (2 * BlockPairs) - 1) / (2 * BlockPairs) * 2 * BlockPairs;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(byte* rows, long rowBytes, byte* target, long targetBytes)
    {
        Transposition.Quad(rows, rowBytes, out Vector512<uint> a0, out Vector512<uint> b0, out Vector512<uint> c0, out Vector512<uint> d0);
        Transposition.Quad(rows + (4 * rowBytes), rowBytes, out Vector512<uint> a1, out Vector512<uint> b1, out Vector512<uint> c1, out Vector512<uint> d1);
        Transposition.Quad(rows + (8 * rowBytes), rowBytes, out Vector512<uint> a2, out Vector512<uint> b2, out Vector512<uint> c2, out Vector512<uint> d2);
        Transposition.Quad(rows + (12 * rowBytes), rowBytes, out Vector512<uint> a3, out Vector512<uint> b3, out Vector512<uint> c3, out Vector512<uint> d3);
        Store(a0, a1, a2, a3, target, targetBytes);
        Store(b0, b1, b2, b3, target + targetBytes, targetBytes);
        Store(c0, c1, c2, c3, target + (2 * targetBytes), targetBytes);
        Store(d0, d1, d2, d3, target + (3 * targetBytes), targetBytes);
    }

    /// <summary>Every fourth pair.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<uint> a, Vector512<uint> b, Vector512<uint> c, Vector512<uint> d, byte* target, long targetBytes)
    {
        (Vector512<uint> first, Vector512<uint> second, Vector512<uint> third, Vector512<uint> fourth) = Transposition.Lanes(a, b, c, d);
        first.Store((uint*)target);
        second.Store((uint*)(target + (4 * targetBytes)));
        third.Store((uint*)(target + (8 * targetBytes)));
        fourth.Store((uint*)(target + (12 * targetBytes)));
    }
}
