// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// With 256 bits: two groups of eight rows at a time, a group a 128-bit half, transposed in units of four columns. All rows of
/// a half come before the next groups, so that each cache line of the tile is written once and as a whole.
/// </summary>
internal static unsafe partial class TileUnpacker
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int WholeAvx2(in WeightMatrix weight, int firstRow, int whole, int blocks, byte* tile)
    {
        long rowBytes = Int4Group32.RowBytes(weight.Columns);
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        int done = whole / 8 * 8;
        long laneBytes = (long)blocks * WeightTile.RecordBytes;
        for (int half = 0; half < 2; half++)
        {
            int row = firstRow + (half * WeightTile.HalfRows);
            byte* data = weight.Data + (row * rowBytes);
            ushort* scales = (ushort*)weight.Scales + ((long)row * groups);
            for (int g = 0; g < done; g += 8)
            {
                byte* record = tile + ((long)WeightTile.RecordOf(g, blocks) * WeightTile.RecordBytes);
                Nibbles16x8(data + (g * GroupBytes), rowBytes, record + (half * WeightTile.HalfBytes), laneBytes);
                Transpose16x8(scales + g, groups, record + WeightTile.ScalesAt + (half * 2 * WeightTile.HalfRows), laneBytes);
            }
        }

        return done;
    }

    /// <summary>Eight groups of 16 rows; all in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Nibbles16x8(byte* data, long rowBytes, byte* record, long laneBytes)
    {
        for (int pair = 0; pair < 4; pair++, data += 2 * GroupBytes, record += 2 * laneBytes)
        {
            byte* rows = data;
            byte* target = record;
            for (int part = 0; part < 2; part++, rows += 8 * rowBytes, target += Vector256<byte>.Count)
            {
                Quad(rows, rowBytes, out Vector256<uint> a0, out Vector256<uint> b0, out Vector256<uint> c0, out Vector256<uint> d0);
                Quad(rows + (4 * rowBytes), rowBytes, out Vector256<uint> a1, out Vector256<uint> b1, out Vector256<uint> c1, out Vector256<uint> d1);
                StoreGroups(a0, a1, target, laneBytes);
                StoreGroups(b0, b1, target + WeightTile.VectorBytes, laneBytes);
                StoreGroups(c0, c1, target + (2 * WeightTile.VectorBytes), laneBytes);
                StoreGroups(d0, d1, target + (3 * WeightTile.VectorBytes), laneBytes);
            }
        }
    }

    /// <summary>Four rows of 32 bytes: vectors of dwords 0, 1, 2 and 3 of each group, a group a 128-bit half, a row an element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quad(byte* data, long rowBytes, out Vector256<uint> first, out Vector256<uint> second, out Vector256<uint> third, out Vector256<uint> fourth)
    {
        Vector256<uint> a = Vector256.Load(data).AsUInt32();
        Vector256<uint> b = Vector256.Load(data + rowBytes).AsUInt32();
        Vector256<uint> c = Vector256.Load(data + (2 * rowBytes)).AsUInt32();
        Vector256<uint> d = Vector256.Load(data + (3 * rowBytes)).AsUInt32();
        Vector256<ulong> ab0 = Avx2.UnpackLow(a, b).AsUInt64();
        Vector256<ulong> ab1 = Avx2.UnpackHigh(a, b).AsUInt64();
        Vector256<ulong> cd0 = Avx2.UnpackLow(c, d).AsUInt64();
        Vector256<ulong> cd1 = Avx2.UnpackHigh(c, d).AsUInt64();
        first = Avx2.UnpackLow(ab0, cd0).AsUInt32();
        second = Avx2.UnpackHigh(ab0, cd0).AsUInt32();
        third = Avx2.UnpackLow(ab1, cd1).AsUInt32();
        fourth = Avx2.UnpackHigh(ab1, cd1).AsUInt32();
    }

    /// <summary>One dword of two groups, from twice four rows, to the records of the groups.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreGroups(Vector256<uint> low, Vector256<uint> high, byte* target, long laneBytes)
    {
        Vector256<uint> mask = Vector256.Create(0x0F0F0F0Fu);
        Store(Avx2.Permute2x128(low, high, 0x20), target, mask);
        Store(Avx2.Permute2x128(low, high, 0x31), target + laneBytes, mask);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<uint> packed, byte* target, Vector256<uint> mask)
    {
        (packed & mask).AsByte().Store(target);
        ((packed >> 4) & mask).AsByte().Store(target + (4 * WeightTile.VectorBytes));
    }

    /// <summary>Scales of 16 rows x 8 groups to 8 records of 16 rows; rows r and r + 8 lie in the two halves of a vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose16x8(ushort* scales, int stride, byte* record, long laneBytes)
    {
        Vector256<ushort> a = RowsOfHalves(scales, stride), b = RowsOfHalves(scales + stride, stride);
        Vector256<ushort> c = RowsOfHalves(scales + (2L * stride), stride), d = RowsOfHalves(scales + (3L * stride), stride);
        Vector256<ushort> e = RowsOfHalves(scales + (4L * stride), stride), f = RowsOfHalves(scales + (5L * stride), stride);
        Vector256<ushort> g = RowsOfHalves(scales + (6L * stride), stride), h = RowsOfHalves(scales + (7L * stride), stride);
        Vector256<uint> ab0 = Avx2.UnpackLow(a, b).AsUInt32(), ab1 = Avx2.UnpackHigh(a, b).AsUInt32();
        Vector256<uint> cd0 = Avx2.UnpackLow(c, d).AsUInt32(), cd1 = Avx2.UnpackHigh(c, d).AsUInt32();
        Vector256<uint> ef0 = Avx2.UnpackLow(e, f).AsUInt32(), ef1 = Avx2.UnpackHigh(e, f).AsUInt32();
        Vector256<uint> gh0 = Avx2.UnpackLow(g, h).AsUInt32(), gh1 = Avx2.UnpackHigh(g, h).AsUInt32();
        FourGroups(ab0, cd0, ef0, gh0, record, laneBytes);
        FourGroups(ab1, cd1, ef1, gh1, record + (4 * laneBytes), laneBytes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FourGroups(Vector256<uint> ab, Vector256<uint> cd, Vector256<uint> ef, Vector256<uint> gh, byte* record, long laneBytes)
    {
        Vector256<ulong> abcd0 = Avx2.UnpackLow(ab, cd).AsUInt64(), abcd1 = Avx2.UnpackHigh(ab, cd).AsUInt64();
        Vector256<ulong> efgh0 = Avx2.UnpackLow(ef, gh).AsUInt64(), efgh1 = Avx2.UnpackHigh(ef, gh).AsUInt64();
        Avx2.UnpackLow(abcd0, efgh0).AsByte().Store(record);
        Avx2.UnpackHigh(abcd0, efgh0).AsByte().Store(record + laneBytes);
        Avx2.UnpackLow(abcd1, efgh1).AsByte().Store(record + (2 * laneBytes));
        Avx2.UnpackHigh(abcd1, efgh1).AsByte().Store(record + (3 * laneBytes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<ushort> RowsOfHalves(ushort* row, int stride) => Vector256.Create(Vector128.Load(row), Vector128.Load(row + (8L * stride)));
}
