// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// FP8 codes as BF16 numbers, which hold each of them exactly. Low and high bytes come from tables of the 128 codes without
/// sign, and meet within quarters of a vector: of 64 columns, two vectors of 32 hold the first and the last eight of each 16.
/// </summary>
internal static unsafe class Float8Codes
{
    /// <summary>Columns that are brought into order together.</summary>
    public const int StepColumns = 64;

    private const int Magnitudes = 128;

    private static readonly AlignedBuffer<byte> s_tables = MakeTables();

    /// <summary>128 low bytes, 128 high bytes, by code without sign.</summary>
    public static byte* Tables => s_tables.Pointer;

    public static bool IsSupported => Avx512Vbmi.IsSupported;

    /// <summary>A row in BF16, zeros behind the last column up to a whole step.</summary>
    /// <param name="codes">(columns); what lies behind is not read.</param>
    /// <param name="columns">At least 1.</param>
    /// <param name="target">Room for whole steps.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Decode(byte* codes, int columns, ushort* target)
    {
        byte* tables = Tables;
        int c = 0;
        for (; c + StepColumns <= columns; c += StepColumns)
        {
            DecodeStep(tables, Vector512.Load(codes + c), target + c);
        }

        if (c < columns)
        {
            byte* rest = stackalloc byte[StepColumns];
            new Span<byte>(rest, StepColumns).Clear();
            new ReadOnlySpan<byte>(codes + c, columns - c).CopyTo(new Span<byte>(rest, StepColumns));
            DecodeStep(tables, Vector512.Load(rest), target + c);
        }
    }

    /// <summary>Brings a step of BF16 numbers into the order of decoded codes.</summary>
    /// <param name="step">(64).</param>
    /// <param name="first">Receives the first vector.</param>
    /// <param name="second">Receives the second.</param>
    public static void Arrange(ushort* step, ushort* first, ushort* second)
    {
        Vector512<long> a = Vector512.Load((long*)step);
        Vector512<long> b = Vector512.Load((long*)step + Vector512<long>.Count);
        Avx512F.Shuffle4x128(a, b, 0b10_00_10_00).Store((long*)first);
        Avx512F.Shuffle4x128(a, b, 0b11_01_11_01).Store((long*)second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void DecodeStep(byte* tables, Vector512<byte> codes, ushort* target)
    {
        Vector512<byte> low = Avx512Vbmi.PermuteVar64x8x2(Vector512.Load(tables), codes, Vector512.Load(tables + 64));
        Vector512<byte> high = Avx512Vbmi.PermuteVar64x8x2(Vector512.Load(tables + 128), codes, Vector512.Load(tables + 192));
        high |= codes & Vector512.Create((byte)0x80);
        Avx512BW.UnpackLow(low, high).Store((byte*)target);
        Avx512BW.UnpackHigh(low, high).Store((byte*)target + Vector512<byte>.Count);
    }

    private static AlignedBuffer<byte> MakeTables()
    {
        var tables = new AlignedBuffer<byte>(2 * Magnitudes);
        for (int code = 0; code < Magnitudes; code++)
        {
            ushort bits = BFloat16.FromSingle(Float8E4M3.Values[code]);
            tables.Pointer[code] = (byte)bits;
            tables.Pointer[Magnitudes + code] = (byte)(bits >> 8);
        }

        return tables;
    }
}
