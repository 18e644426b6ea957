// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu.Kernels;

/// <summary>Sixteen rows of sixteen doublewords, transposed in registers, in two halves: <see cref="Quad"/> of four rows at a time, then <see cref="Lanes"/> of four quads.</summary>
internal static unsafe class Transposition
{
    /// <summary>Four rows of 64 bytes: vectors of doublewords 0, 1, 2 and 3 of each 128-bit lane, a row an element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Quad(byte* data, long rowBytes, out Vector512<uint> first, out Vector512<uint> second, out Vector512<uint> third, out Vector512<uint> fourth)
    {
        Vector512<uint> a = Vector512.Load(data).AsUInt32();
        Vector512<uint> b = Vector512.Load(data + rowBytes).AsUInt32();
        Vector512<uint> c = Vector512.Load(data + (2 * rowBytes)).AsUInt32();
        Vector512<uint> d = Vector512.Load(data + (3 * rowBytes)).AsUInt32();
        Vector512<ulong> ab0 = Avx512F.UnpackLow(a, b).AsUInt64();
        Vector512<ulong> ab1 = Avx512F.UnpackHigh(a, b).AsUInt64();
        Vector512<ulong> cd0 = Avx512F.UnpackLow(c, d).AsUInt64();
        Vector512<ulong> cd1 = Avx512F.UnpackHigh(c, d).AsUInt64();
        first = Avx512F.UnpackLow(ab0, cd0).AsUInt32();
        second = Avx512F.UnpackHigh(ab0, cd0).AsUInt32();
        third = Avx512F.UnpackLow(ab1, cd1).AsUInt32();
        fourth = Avx512F.UnpackHigh(ab1, cd1).AsUInt32();
    }

    /// <summary>Lane 0 of four vectors side by side, then lanes 1, 2 and 3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector512<uint> First, Vector512<uint> Second, Vector512<uint> Third, Vector512<uint> Fourth) Lanes(
        Vector512<uint> a, Vector512<uint> b, Vector512<uint> c, Vector512<uint> d)
    {
        Vector512<uint> low01 = Avx512F.Shuffle4x128(a, b, 0b01_00_01_00);
        Vector512<uint> low23 = Avx512F.Shuffle4x128(c, d, 0b01_00_01_00);
        Vector512<uint> high01 = Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);
        Vector512<uint> high23 = Avx512F.Shuffle4x128(c, d, 0b11_10_11_10);
        return (
            Avx512F.Shuffle4x128(low01, low23, 0b10_00_10_00),
            Avx512F.Shuffle4x128(low01, low23, 0b11_01_11_01),
            Avx512F.Shuffle4x128(high01, high23, 0b10_00_10_00),
            Avx512F.Shuffle4x128(high01, high23, 0b11_01_11_01));
    }
}
