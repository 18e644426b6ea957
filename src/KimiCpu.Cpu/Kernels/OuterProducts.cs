// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// C += A B in small tiles whose sums stay in registers: a step takes an element of each row of A and some vectors of a row of B. Each
/// element of C is one chain of multiply-adds by rising step, so it does not depend on what else is in the tile. Numbers of rows and of vectors are
/// known to the compiler as <see cref="ITokenCount"/>.
/// </summary>
internal static unsafe class OuterProducts
{
    /// <summary>Most rows of a tile.</summary>
    public const int MostRows = 6;

    /// <summary>Most vectors of a tile, with which sums and operands take nearly all registers.</summary>
    public static int MostVectors<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Registers / 8;

    /// <summary>C[i, v] += Σ A[i, k] B[k, v] of a tile.</summary>
    /// <param name="rows">1 … <see cref="MostRows"/>.</param>
    /// <param name="vectors">1 … <see cref="MostVectors"/>.</param>
    /// <param name="a">A[i, k] lies at i * <paramref name="aRowStride"/> + k * <paramref name="aStep"/>.</param>
    /// <param name="aRowStride">Floats.</param>
    /// <param name="aStep">Floats.</param>
    /// <param name="b">(steps, vectors).</param>
    /// <param name="bStride">Floats from step to step.</param>
    /// <param name="steps">At least 1.</param>
    /// <param name="c">(rows, vectors).</param>
    /// <param name="cStride">Floats from row to row.</param>
    public static void Add<TLanes>(int rows, int vectors, float* a, long aRowStride, long aStep, float* b, long bStride, int steps, float* c, long cStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        switch (rows)
        {
            case 1:
                Add<TLanes, OneToken>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 2:
                Add<TLanes, TwoTokens>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 3:
                Add<TLanes, ThreeTokens>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 4:
                Add<TLanes, FourTokens>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 5:
                Add<TLanes, FiveTokens>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            default:
                Add<TLanes, SixTokens>(vectors, a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
        }
    }

    private static void Add<TLanes, TRows>(int vectors, float* a, long aRowStride, long aStep, float* b, long bStride, int steps, float* c, long cStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRows : ITokenCount
    {
        switch (vectors)
        {
            case 1:
                Tile<TLanes, TRows, OneToken>(a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 2:
                Tile<TLanes, TRows, TwoTokens>(a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            case 3:
                Tile<TLanes, TRows, ThreeTokens>(a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
            default:
                Tile<TLanes, TRows, FourTokens>(a, aRowStride, aStep, b, bStride, steps, c, cStride);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Tile<TLanes, TRows, TVectors>(float* a, long aRowStride, long aStep, float* b, long bStride, int steps, float* c, long cStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRows : ITokenCount
        where TVectors : ITokenCount
    {
        TLanes s00 = default, s01 = default, s02 = default, s03 = default, s10 = default, s11 = default, s12 = default, s13 = default;
        TLanes s20 = default, s21 = default, s22 = default, s23 = default, s30 = default, s31 = default, s32 = default, s33 = default;
        TLanes s40 = default, s41 = default, s42 = default, s43 = default, s50 = default, s51 = default, s52 = default, s53 = default;
        Load<TLanes, TRows, TVectors>(0, c, cStride, ref s00, ref s01, ref s02, ref s03);
        Load<TLanes, TRows, TVectors>(1, c, cStride, ref s10, ref s11, ref s12, ref s13);
        Load<TLanes, TRows, TVectors>(2, c, cStride, ref s20, ref s21, ref s22, ref s23);
        Load<TLanes, TRows, TVectors>(3, c, cStride, ref s30, ref s31, ref s32, ref s33);
        Load<TLanes, TRows, TVectors>(4, c, cStride, ref s40, ref s41, ref s42, ref s43);
        Load<TLanes, TRows, TVectors>(5, c, cStride, ref s50, ref s51, ref s52, ref s53);
        float* others = a + (3 * aRowStride);
        for (; steps > 0; steps--, a += aStep, others += aStep, b += bStride)
        {
            TLanes first = TLanes.Load(b);
            TLanes second = TVectors.Count > 1 ? TLanes.Load(b + TLanes.Count) : default;
            TLanes third = TVectors.Count > 2 ? TLanes.Load(b + (2 * TLanes.Count)) : default;
            TLanes fourth = TVectors.Count > 3 ? TLanes.Load(b + (3 * TLanes.Count)) : default;
            Add<TLanes, TRows, TVectors>(0, a, first, second, third, fourth, ref s00, ref s01, ref s02, ref s03);
            Add<TLanes, TRows, TVectors>(1, a + aRowStride, first, second, third, fourth, ref s10, ref s11, ref s12, ref s13);
            Add<TLanes, TRows, TVectors>(2, a + (2 * aRowStride), first, second, third, fourth, ref s20, ref s21, ref s22, ref s23);
            Add<TLanes, TRows, TVectors>(3, others, first, second, third, fourth, ref s30, ref s31, ref s32, ref s33);
            Add<TLanes, TRows, TVectors>(4, others + aRowStride, first, second, third, fourth, ref s40, ref s41, ref s42, ref s43);
            Add<TLanes, TRows, TVectors>(5, others + (2 * aRowStride), first, second, third, fourth, ref s50, ref s51, ref s52, ref s53);
        }

        Store<TLanes, TRows, TVectors>(0, c, cStride, s00, s01, s02, s03);
        Store<TLanes, TRows, TVectors>(1, c, cStride, s10, s11, s12, s13);
        Store<TLanes, TRows, TVectors>(2, c, cStride, s20, s21, s22, s23);
        Store<TLanes, TRows, TVectors>(3, c, cStride, s30, s31, s32, s33);
        Store<TLanes, TRows, TVectors>(4, c, cStride, s40, s41, s42, s43);
        Store<TLanes, TRows, TVectors>(5, c, cStride, s50, s51, s52, s53);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TLanes, TRows, TVectors>(
        int row, float* a, TLanes first, TLanes second, TLanes third, TLanes fourth, ref TLanes sum0, ref TLanes sum1, ref TLanes sum2, ref TLanes sum3)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRows : ITokenCount
        where TVectors : ITokenCount
    {
        if (row < TRows.Count)
        {
            TLanes element = TLanes.Broadcast(*a);
            sum0 = TLanes.MultiplyAdd(element, first, sum0);
            if (TVectors.Count > 1)
            {
                sum1 = TLanes.MultiplyAdd(element, second, sum1);
            }

            if (TVectors.Count > 2)
            {
                sum2 = TLanes.MultiplyAdd(element, third, sum2);
            }

            if (TVectors.Count > 3)
            {
                sum3 = TLanes.MultiplyAdd(element, fourth, sum3);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TLanes, TRows, TVectors>(int row, float* c, long stride, ref TLanes sum0, ref TLanes sum1, ref TLanes sum2, ref TLanes sum3)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRows : ITokenCount
        where TVectors : ITokenCount
    {
        if (row < TRows.Count)
        {
            c += row * stride;
            sum0 = TLanes.Load(c);
            if (TVectors.Count > 1)
            {
                sum1 = TLanes.Load(c + TLanes.Count);
            }

            if (TVectors.Count > 2)
            {
                sum2 = TLanes.Load(c + (2 * TLanes.Count));
            }

            if (TVectors.Count > 3)
            {
                sum3 = TLanes.Load(c + (3 * TLanes.Count));
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TLanes, TRows, TVectors>(int row, float* c, long stride, TLanes sum0, TLanes sum1, TLanes sum2, TLanes sum3)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRows : ITokenCount
        where TVectors : ITokenCount
    {
        if (row < TRows.Count)
        {
            c += row * stride;
            TLanes.Store(sum0, c);
            if (TVectors.Count > 1)
            {
                TLanes.Store(sum1, c + TLanes.Count);
            }

            if (TVectors.Count > 2)
            {
                TLanes.Store(sum2, c + (2 * TLanes.Count));
            }

            if (TVectors.Count > 3)
            {
                TLanes.Store(sum3, c + (3 * TLanes.Count));
            }
        }
    }
}
