// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// y += x W, for weights whose rows are the summed dimension: the absorption of the key expansion. Every y is one chain of
/// multiply-adds by rising row, whatever else is computed.
/// </summary>
internal static unsafe partial class TransposedGemm
{
    /// <summary>y[t * yStride + c] += Σ x[t * xStride + n] W[n, c], n = 0 … weight.Rows - 1.</summary>
    /// <param name="weight">(rows, columns) in BF16 or F32.</param>
    /// <param name="x">(tokens, rows).</param>
    /// <param name="xStride">Floats.</param>
    /// <param name="tokens">At least 1.</param>
    /// <param name="y">(tokens, columns).</param>
    /// <param name="yStride">Floats.</param>
    public static void Accumulate(in WeightMatrix weight, float* x, long xStride, int tokens, float* y, long yStride) =>
        Accumulate(CpuFeatures.Best, weight, x, xStride, tokens, y, yStride);

    /// <summary>The same with a given instruction set, which must be supported.</summary>
    public static void Accumulate(InstructionSet set, in WeightMatrix weight, float* x, long xStride, int tokens, float* y, long yStride)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                Dispatch<Lanes512>(weight, x, xStride, tokens, y, yStride);
                break;
            case InstructionSet.Avx2:
                Dispatch<Lanes256>(weight, x, xStride, tokens, y, yStride);
                break;
            case InstructionSet.Vector128:
                Dispatch<Lanes128>(weight, x, xStride, tokens, y, yStride);
                break;
            default:
                Dispatch<LanesScalar>(weight, x, xStride, tokens, y, yStride);
                break;
        }
    }

    private static void Dispatch<TLanes>(in WeightMatrix weight, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (weight.Format == WeightFormat.BFloat16 && tokens > 1 && typeof(TLanes) == typeof(Lanes256))
        {
            ColumnPairs(weight.Data, weight.RowBytes, weight.Rows, weight.Columns, x, xStride, tokens, y, yStride);
        }
        else if (weight.Format == WeightFormat.BFloat16)
        {
            Columns<TLanes, BFloat16Row<TLanes>>(weight.Data, weight.RowBytes, weight.Rows, weight.Columns, x, xStride, tokens, y, yStride);
        }
        else if (weight.Format == WeightFormat.Float32)
        {
            Columns<TLanes, Float32Row<TLanes>>(weight.Data, weight.RowBytes, weight.Rows, weight.Columns, x, xStride, tokens, y, yStride);
        }
        else
        {
            throw new NotSupportedException($"Transposed products take BF16 and F32 weights; found {weight.Format}.");
        }
    }

    private static void Columns<TLanes, TRow>(byte* data, long rowBytes, int rows, int columns, float* x, long xStride, int tokens, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int t = 0;
        int vectors = columns / TLanes.Count * TLanes.Count;
        for (; t + 8 <= tokens; t += 8)
        {
            int c = 0;
            for (; c + (2 * TLanes.Count) <= vectors; c += 2 * TLanes.Count)
            {
                Tile4x2<TLanes, TRow>(data, rowBytes, rows, c, x + (t * xStride), xStride, y + (t * yStride) + c, yStride);
                Tile4x2<TLanes, TRow>(data, rowBytes, rows, c, x + ((t + 4) * xStride), xStride, y + ((t + 4) * yStride) + c, yStride);
            }

            for (int i = 0; i < 8; i++)
            {
                Rest<TLanes, TRow>(data, rowBytes, rows, c, columns, x + ((t + i) * xStride), y + ((t + i) * yStride));
            }
        }

        for (; t < tokens; t++)
        {
            if (typeof(TRow) == typeof(BFloat16Row<TLanes>))
            {
                OneTokenBFloat16<TLanes>(data, rowBytes, rows, columns, x + (t * xStride), y + (t * yStride));
                continue;
            }

            int c = 0;
            for (; c + (8 * TLanes.Count) <= vectors; c += 8 * TLanes.Count)
            {
                Tile1x8<TLanes, TRow>(data, rowBytes, rows, c, x + (t * xStride), y + (t * yStride) + c);
            }

            Rest<TLanes, TRow>(data, rowBytes, rows, c, columns, x + (t * xStride), y + (t * yStride));
        }
    }

    /// <summary>
    /// Eight rows at a time over all columns, whose sums wait in y, so that weights are read almost in the order of memory and
    /// in whole lines.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneTokenBFloat16<TLanes>(byte* data, long rowBytes, int rows, int columns, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int whole = columns / (2 * TLanes.Count) * 2 * TLanes.Count;
        int together = rows / 8 * 8;
        for (int n = 0; n < together; n += 8)
        {
            EightRows<TLanes>(data + (n * rowBytes), rowBytes, whole, x + n, y);
        }

        Rest<TLanes, BFloat16Row<TLanes>>(data + (together * rowBytes), rowBytes, rows - together, 0, whole, x + together, y);
        Rest<TLanes, BFloat16Row<TLanes>>(data, rowBytes, rows, whole, columns, x, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightRows<TLanes>(byte* data, long rowBytes, int columns, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes x0 = TLanes.Broadcast(x[0]), x1 = TLanes.Broadcast(x[1]), x2 = TLanes.Broadcast(x[2]), x3 = TLanes.Broadcast(x[3]);
        TLanes x4 = TLanes.Broadcast(x[4]), x5 = TLanes.Broadcast(x[5]), x6 = TLanes.Broadcast(x[6]), x7 = TLanes.Broadcast(x[7]);
        byte* next = data + (8 * rowBytes);
        for (int c = 0; c < columns; c += 2 * width, data += 4 * width, next += 32 * width)
        {
            TLanes a = TLanes.Load(y + c), b = TLanes.Load(y + c + width);
            TLanes even = TLanes.EvenOf(a, b), odd = TLanes.OddOf(a, b);
            TLanes bits;
            Prefetch.Line(next);
            bits = TLanes.Load((float*)(data));
            even = TLanes.MultiplyAdd(x0, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x0, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (4 * width));
            bits = TLanes.Load((float*)(data + rowBytes));
            even = TLanes.MultiplyAdd(x1, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x1, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (8 * width));
            bits = TLanes.Load((float*)(data + (2 * rowBytes)));
            even = TLanes.MultiplyAdd(x2, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x2, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (12 * width));
            bits = TLanes.Load((float*)(data + (3 * rowBytes)));
            even = TLanes.MultiplyAdd(x3, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x3, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (16 * width));
            bits = TLanes.Load((float*)(data + (4 * rowBytes)));
            even = TLanes.MultiplyAdd(x4, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x4, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (20 * width));
            bits = TLanes.Load((float*)(data + (5 * rowBytes)));
            even = TLanes.MultiplyAdd(x5, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x5, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (24 * width));
            bits = TLanes.Load((float*)(data + (6 * rowBytes)));
            even = TLanes.MultiplyAdd(x6, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x6, TLanes.OddBFloat16(bits), odd);
            Prefetch.Line(next + (28 * width));
            bits = TLanes.Load((float*)(data + (7 * rowBytes)));
            even = TLanes.MultiplyAdd(x7, TLanes.EvenBFloat16(bits), even);
            odd = TLanes.MultiplyAdd(x7, TLanes.OddBFloat16(bits), odd);
            TLanes.Store(TLanes.FirstZipped(even, odd), y + c);
            TLanes.Store(TLanes.SecondZipped(even, odd), y + c + width);
        }
    }

    /// <summary>Four tokens, two vectors of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4x2<TLanes, TRow>(byte* data, long rowBytes, int rows, int c, float* x, long xStride, float* y, long yStride)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int d = c + TLanes.Count;
        float* x1 = x + xStride;
        float* x2 = x1 + xStride;
        float* x3 = x2 + xStride;
        float* y1 = y + yStride;
        float* y2 = y1 + yStride;
        float* y3 = y2 + yStride;
        TLanes a0 = TLanes.Load(y), b0 = TLanes.Load(y + TLanes.Count);
        TLanes a1 = TLanes.Load(y1), b1 = TLanes.Load(y1 + TLanes.Count);
        TLanes a2 = TLanes.Load(y2), b2 = TLanes.Load(y2 + TLanes.Count);
        TLanes a3 = TLanes.Load(y3), b3 = TLanes.Load(y3 + TLanes.Count);
        for (int n = 0; n < rows; n++)
        {
            TLanes wa = TRow.Load(data, c);
            TLanes wb = TRow.Load(data, d);
            TLanes v = TLanes.Broadcast(x[n]);
            a0 = TLanes.MultiplyAdd(v, wa, a0);
            b0 = TLanes.MultiplyAdd(v, wb, b0);
            v = TLanes.Broadcast(x1[n]);
            a1 = TLanes.MultiplyAdd(v, wa, a1);
            b1 = TLanes.MultiplyAdd(v, wb, b1);
            v = TLanes.Broadcast(x2[n]);
            a2 = TLanes.MultiplyAdd(v, wa, a2);
            b2 = TLanes.MultiplyAdd(v, wb, b2);
            v = TLanes.Broadcast(x3[n]);
            a3 = TLanes.MultiplyAdd(v, wa, a3);
            b3 = TLanes.MultiplyAdd(v, wb, b3);
            data += rowBytes;
        }

        TLanes.Store(a0, y);
        TLanes.Store(b0, y + TLanes.Count);
        TLanes.Store(a1, y1);
        TLanes.Store(b1, y1 + TLanes.Count);
        TLanes.Store(a2, y2);
        TLanes.Store(b2, y2 + TLanes.Count);
        TLanes.Store(a3, y3);
        TLanes.Store(b3, y3 + TLanes.Count);
    }

    /// <summary>One token, eight vectors of columns: enough chains to hide the latency of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1x8<TLanes, TRow>(byte* data, long rowBytes, int rows, int c, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        int width = TLanes.Count;
        TLanes a0 = TLanes.Load(y), a1 = TLanes.Load(y + width), a2 = TLanes.Load(y + (2 * width)), a3 = TLanes.Load(y + (3 * width));
        TLanes a4 = TLanes.Load(y + (4 * width)), a5 = TLanes.Load(y + (5 * width)), a6 = TLanes.Load(y + (6 * width)), a7 = TLanes.Load(y + (7 * width));
        for (int n = 0; n < rows; n++)
        {
            TLanes v = TLanes.Broadcast(x[n]);
            a0 = TLanes.MultiplyAdd(v, TRow.Load(data, c), a0);
            a1 = TLanes.MultiplyAdd(v, TRow.Load(data, c + width), a1);
            a2 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (2 * width)), a2);
            a3 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (3 * width)), a3);
            a4 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (4 * width)), a4);
            a5 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (5 * width)), a5);
            a6 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (6 * width)), a6);
            a7 = TLanes.MultiplyAdd(v, TRow.Load(data, c + (7 * width)), a7);
            data += rowBytes;
        }

        TLanes.Store(a0, y);
        TLanes.Store(a1, y + width);
        TLanes.Store(a2, y + (2 * width));
        TLanes.Store(a3, y + (3 * width));
        TLanes.Store(a4, y + (4 * width));
        TLanes.Store(a5, y + (5 * width));
        TLanes.Store(a6, y + (6 * width));
        TLanes.Store(a7, y + (7 * width));
    }

    /// <summary>The columns from c on, by single vectors, then one by one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rest<TLanes, TRow>(byte* data, long rowBytes, int rows, int c, int columns, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
        where TRow : IWeightRow<TLanes>
    {
        for (; c + TLanes.Count <= columns; c += TLanes.Count)
        {
            TLanes sum = TLanes.Load(y + c);
            for (int n = 0; n < rows; n++)
            {
                sum = TLanes.MultiplyAdd(TLanes.Broadcast(x[n]), TRow.Load(data + (n * rowBytes), c), sum);
            }

            TLanes.Store(sum, y + c);
        }

        for (; c < columns; c++)
        {
            float sum = y[c];
            for (int n = 0; n < rows; n++)
            {
                sum = MathF.FusedMultiplyAdd(x[n], TRow.Element(data + (n * rowBytes), c), sum);
            }

            y[c] = sum;
        }
    }
}
