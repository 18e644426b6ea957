// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Weights of any format, as stored, times single-precision activations. One token is bound by memory: a BF16 row is
/// read once at 2 bytes a weight. Several tokens decode each weight once for four of them. The sum of a (row, token)
/// pair never depends on how many tokens or rows a call has.
/// </summary>
internal static unsafe class FloatGemv
{
    /// <summary>Bytes that the next weights are asked for ahead of their use; a page, as the hardware stops at its end.</summary>
    private const int PrefetchDistance = 4096;

    /// <summary>Rows that all tokens pass over before the next ones; so many rows of a wide layer stay in the second-level cache.</summary>
    private const int RowBlock = 32;

    /// <summary>y[t, r] = Σ W[r, c] x[t, c].</summary>
    /// <param name="weight">(rows, columns).</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">(tokens, columns), rows <paramref name="xStride"/> floats apart.</param>
    /// <param name="xStride">Floats.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    public static void Multiply(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride) =>
        Multiply(CpuFeatures.Best, weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);

    /// <summary>The same with a given instruction set, which must be supported.</summary>
    public static void Multiply(InstructionSet set, in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                Dispatch<Lanes512>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            case InstructionSet.Avx2:
                Dispatch<Lanes256>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            case InstructionSet.Vector128:
                Dispatch<Lanes128>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            default:
                Dispatch<LanesScalar>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
        }
    }

    private static void Dispatch<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        switch (weight.Format)
        {
            case WeightFormat.BFloat16:
                Rows<TLanes, BFloat16Row<TLanes>>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            case WeightFormat.Float8Block:
                Rows<TLanes, Float8Row<TLanes>>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            case WeightFormat.Float32:
                Rows<TLanes, Float32Row<TLanes>>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
            default:
                DecodedRows<TLanes>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rows<TLanes, TRow>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int columns = weight.Columns;
        int block = weight.Format == WeightFormat.Float8Block ? weight.BlockColumns : columns;
        int blocksPerRow = (columns + block - 1) / block;
        for (int firstRow = rowBegin; firstRow < rowEnd; firstRow += RowBlock)
        {
            int lastRow = Math.Min(firstRow + RowBlock, rowEnd);
            for (int t = 0; t < tokens;)
            {
                int taken = tokens - t >= 4 ? 4 : 1;
                for (int r = firstRow; r < lastRow; r++)
                {
                    byte* data = weight.Data + (r * weight.RowBytes);
                    byte* scales = weight.Scales == null ? null : weight.Scales + (4L * (r / weight.BlockRows) * blocksPerRow);
                    if (taken == 4)
                    {
                        Dot4<TLanes, TRow>(data, scales, columns, block, x + (t * xStride), xStride, y + (t * yStride) + r, yStride);
                    }
                    else
                    {
                        y[(t * yStride) + r] = Dot1<TLanes, TRow>(data, scales, columns, block, x + (t * xStride));
                    }
                }

                t += taken;
            }
        }
    }

    /// <summary>Formats that are decoded to floats first: F16, and INT4 in exact mode. Not a hot path of Kimi K2.</summary>
    private static void DecodedRows<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        const int StackColumns = 4096;
        int columns = weight.Columns;
        Span<float> decoded = columns <= StackColumns ? stackalloc float[columns] : new float[columns];
        fixed (float* row = decoded)
        {
            for (int r = rowBegin; r < rowEnd; r++)
            {
                WeightDecoder.DecodeRow(weight, r, decoded);
                int t = 0;
                for (; t + 4 <= tokens; t += 4)
                {
                    Dot4<TLanes, Float32Row<TLanes>>((byte*)row, null, columns, columns, x + (t * xStride), xStride, y + (t * yStride) + r, yStride);
                }

                for (; t < tokens; t++)
                {
                    y[(t * yStride) + r] = Dot1<TLanes, Float32Row<TLanes>>((byte*)row, null, columns, columns, x + (t * xStride));
                }
            }
        }
    }

    /// <summary>One token: two chains of multiply-adds a block of columns, then the tail one by one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot1<TLanes, TRow>(byte* data, byte* scales, int columns, int block, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int step = 2 * TLanes.Count;
        TLanes total = TLanes.Zero;
        float tail = 0;
        for (int start = 0; start < columns; start += block)
        {
            int end = Math.Min(start + block, columns);
            TLanes even = TLanes.Zero;
            TLanes odd = TLanes.Zero;
            int c = start;
            for (; c + step <= end; c += step)
            {
                TRow.Prefetch(data, c, PrefetchDistance);
                even = TLanes.MultiplyAdd(TRow.Load(data, c), TLanes.Load(x + c), even);
                odd = TLanes.MultiplyAdd(TRow.Load(data, c + TLanes.Count), TLanes.Load(x + c + TLanes.Count), odd);
            }

            float rest = 0;
            for (; c < end; c++)
            {
                rest += TRow.Element(data, c) * x[c];
            }

            if (scales == null)
            {
                total = TLanes.Add(even, odd);
                tail = rest;
            }
            else
            {
                float scale = Unsafe.ReadUnaligned<float>(scales + (4L * (start / block)));
                total = TLanes.MultiplyAdd(TLanes.Add(even, odd), TLanes.Broadcast(scale), total);
                tail += rest * scale;
            }
        }

        return TLanes.Sum(total) + tail;
    }

    /// <summary>Four tokens, each summed in exactly the order of <see cref="Dot1"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Dot4<TLanes, TRow>(byte* data, byte* scales, int columns, int block, float* x, long xStride, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int step = 2 * TLanes.Count;
        float* x0 = x;
        float* x1 = x0 + xStride;
        float* x2 = x1 + xStride;
        float* x3 = x2 + xStride;
        TLanes total0 = TLanes.Zero, total1 = TLanes.Zero, total2 = TLanes.Zero, total3 = TLanes.Zero;
        float tail0 = 0, tail1 = 0, tail2 = 0, tail3 = 0;
        for (int start = 0; start < columns; start += block)
        {
            int end = Math.Min(start + block, columns);
            TLanes even0 = TLanes.Zero, even1 = TLanes.Zero, even2 = TLanes.Zero, even3 = TLanes.Zero;
            TLanes odd0 = TLanes.Zero, odd1 = TLanes.Zero, odd2 = TLanes.Zero, odd3 = TLanes.Zero;
            int c = start;
            for (; c + step <= end; c += step)
            {
                TLanes w = TRow.Load(data, c);
                even0 = TLanes.MultiplyAdd(w, TLanes.Load(x0 + c), even0);
                even1 = TLanes.MultiplyAdd(w, TLanes.Load(x1 + c), even1);
                even2 = TLanes.MultiplyAdd(w, TLanes.Load(x2 + c), even2);
                even3 = TLanes.MultiplyAdd(w, TLanes.Load(x3 + c), even3);
                int d = c + TLanes.Count;
                w = TRow.Load(data, d);
                odd0 = TLanes.MultiplyAdd(w, TLanes.Load(x0 + d), odd0);
                odd1 = TLanes.MultiplyAdd(w, TLanes.Load(x1 + d), odd1);
                odd2 = TLanes.MultiplyAdd(w, TLanes.Load(x2 + d), odd2);
                odd3 = TLanes.MultiplyAdd(w, TLanes.Load(x3 + d), odd3);
            }

            float rest0 = 0, rest1 = 0, rest2 = 0, rest3 = 0;
            for (; c < end; c++)
            {
                float w = TRow.Element(data, c);
                rest0 += w * x0[c];
                rest1 += w * x1[c];
                rest2 += w * x2[c];
                rest3 += w * x3[c];
            }

            if (scales == null)
            {
                total0 = TLanes.Add(even0, odd0);
                total1 = TLanes.Add(even1, odd1);
                total2 = TLanes.Add(even2, odd2);
                total3 = TLanes.Add(even3, odd3);
                (tail0, tail1, tail2, tail3) = (rest0, rest1, rest2, rest3);
            }
            else
            {
                float scale = Unsafe.ReadUnaligned<float>(scales + (4L * (start / block)));
                TLanes factor = TLanes.Broadcast(scale);
                total0 = TLanes.MultiplyAdd(TLanes.Add(even0, odd0), factor, total0);
                total1 = TLanes.MultiplyAdd(TLanes.Add(even1, odd1), factor, total1);
                total2 = TLanes.MultiplyAdd(TLanes.Add(even2, odd2), factor, total2);
                total3 = TLanes.MultiplyAdd(TLanes.Add(even3, odd3), factor, total3);
                tail0 += rest0 * scale;
                tail1 += rest1 * scale;
                tail2 += rest2 * scale;
                tail3 += rest3 * scale;
            }
        }

        y[0] = TLanes.Sum(total0) + tail0;
        y[yStride] = TLanes.Sum(total1) + tail1;
        y[2 * yStride] = TLanes.Sum(total2) + tail2;
        y[3 * yStride] = TLanes.Sum(total3) + tail3;
    }
}
