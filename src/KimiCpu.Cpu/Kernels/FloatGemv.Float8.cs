// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// FP8: Σ code (x scale), each activation multiplied by its block's scale and rounded once for all rows of the block. Codes
/// moved into the place of a float are the value times 2^-120; the scale takes 2^100 of it, which leaves room for products
/// up to 2^28, and the sum the rest. Rows whose sums are not finite are computed again without these factors.
/// </summary>
internal static unsafe partial class FloatGemv
{
    private const float TwoTo100 = 1.2676506002282294e30f;
    private const float TwoTo20 = 1 << 20;

    private static void Float8Rows<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int block = weight.BlockColumns;
        int blocksPerRow = (weight.Columns + block - 1) / block;
        int step = Arrangement.Step<TLanes>(WeightFormat.Float8Block);
        int vectors = weight.Columns / step * step;
        int together = TLanes.Count == 16 ? 8 : 2;
        float* scratch = FloatGemm.Scratch(3L * weight.Columns);
        float* scaled = scratch + (2L * weight.Columns);
        int scaledFor = -1;
        for (int r = rowBegin; r < rowEnd;)
        {
            byte* data = weight.Data + (r * weight.RowBytes);
            int blockRow = r / weight.BlockRows;
            byte* scales = weight.Scales + (4L * blockRow * blocksPerRow);
            bool whole = block % step == 0 && rowEnd - r >= together && (r % weight.BlockRows) + together <= weight.BlockRows;
            int end = r + 1;
            if (whole && typeof(TLanes) == typeof(Lanes256) && blockRow != scaledFor)
            {
                ScaleArranged(x, scales, vectors, block, scaled);
                scaledFor = blockRow;
            }

            if (whole && (together == 8 ? TryEightRows<TLanes>(data, weight.RowBytes, scales, vectors, block, x, y + r)
                : typeof(TLanes) == typeof(Lanes256) ? TryTwoRowsAvx2(data, weight.RowBytes, vectors, scaled, y + r)
                : TryTwoRows<TLanes>(data, weight.RowBytes, scales, vectors, block, x, y + r)))
            {
                end = r + together;
            }
            else
            {
                y[r] = DecodedRow<TLanes>(weight, r, scales, vectors, x, scratch);
            }

            for (; r < end; r++, data += weight.RowBytes)
            {
                float rest = 0;
                for (int c = vectors; c < weight.Columns; c++)
                {
                    rest += Float8E4M3.Values[data[c]] * (x[c] * Unsafe.ReadUnaligned<float>(scales + (4L * (c / block))));
                }

                y[r] += rest;
            }
        }
    }

    /// <summary>Eight rows of the same blocks at once; false where a code is NaN or a sum is not finite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool TryEightRows<TLanes>(byte* data, long rowBytes, byte* scales, int vectors, int block, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes largest = TLanes.Zero;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        TLanes even2 = TLanes.Zero, odd2 = TLanes.Zero;
        TLanes even3 = TLanes.Zero, odd3 = TLanes.Zero;
        TLanes even4 = TLanes.Zero, odd4 = TLanes.Zero;
        TLanes even5 = TLanes.Zero, odd5 = TLanes.Zero;
        TLanes even6 = TLanes.Zero, odd6 = TLanes.Zero;
        TLanes even7 = TLanes.Zero, odd7 = TLanes.Zero;
        byte* next = data + (8 * rowBytes);
        for (int start = 0; start < vectors; start += block)
        {
            TLanes scale = TLanes.Broadcast(Unsafe.ReadUnaligned<float>(scales + (4L * (start / block))) * TwoTo100);
            int end = Math.Min(start + block, vectors);
            for (int c = start; c < end; c += 4 * width, data += 4 * width, next += 32 * width)
            {
                TLanes a = TLanes.Load(x + c), b = TLanes.Load(x + c + width);
                TLanes xEven = TLanes.EvenOf(a, b), xOdd = TLanes.OddOf(a, b);
                a = TLanes.Load(x + c + (2 * width));
                b = TLanes.Load(x + c + (3 * width));
                TLanes yEven = TLanes.EvenOf(a, b), yOdd = TLanes.OddOf(a, b);
                TLanes x0 = TLanes.Multiply(TLanes.EvenOf(xEven, yEven), scale), x1 = TLanes.Multiply(TLanes.EvenOf(xOdd, yOdd), scale);
                TLanes x2 = TLanes.Multiply(TLanes.OddOf(xEven, yEven), scale), x3 = TLanes.Multiply(TLanes.OddOf(xOdd, yOdd), scale);
                TLanes bits, halves;
                Prefetch.NextPage(next, 32 * width);
                Prefetch.NextLine(next);
                bits = TLanes.Load((float*)(data));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even0);
                even0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even0);
                halves = TLanes.OddFloat8(bits);
                odd0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd0);
                odd0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd0);
                Prefetch.NextLine(next + (4 * width));
                bits = TLanes.Load((float*)(data + rowBytes));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even1);
                even1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even1);
                halves = TLanes.OddFloat8(bits);
                odd1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd1);
                odd1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd1);
                Prefetch.NextLine(next + (8 * width));
                bits = TLanes.Load((float*)(data + (2 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even2 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even2);
                even2 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even2);
                halves = TLanes.OddFloat8(bits);
                odd2 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd2);
                odd2 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd2);
                Prefetch.NextLine(next + (12 * width));
                bits = TLanes.Load((float*)(data + (3 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even3 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even3);
                even3 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even3);
                halves = TLanes.OddFloat8(bits);
                odd3 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd3);
                odd3 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd3);
                Prefetch.NextLine(next + (16 * width));
                bits = TLanes.Load((float*)(data + (4 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even4 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even4);
                even4 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even4);
                halves = TLanes.OddFloat8(bits);
                odd4 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd4);
                odd4 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd4);
                Prefetch.NextLine(next + (20 * width));
                bits = TLanes.Load((float*)(data + (5 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even5 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even5);
                even5 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even5);
                halves = TLanes.OddFloat8(bits);
                odd5 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd5);
                odd5 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd5);
                Prefetch.NextLine(next + (24 * width));
                bits = TLanes.Load((float*)(data + (6 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even6 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even6);
                even6 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even6);
                halves = TLanes.OddFloat8(bits);
                odd6 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd6);
                odd6 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd6);
                Prefetch.NextLine(next + (28 * width));
                bits = TLanes.Load((float*)(data + (7 * rowBytes)));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even7 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even7);
                even7 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even7);
                halves = TLanes.OddFloat8(bits);
                odd7 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd7);
                odd7 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd7);
            }
        }

        y[0] = TLanes.Sum(TLanes.Add(even0, odd0)) * TwoTo20;
        y[1] = TLanes.Sum(TLanes.Add(even1, odd1)) * TwoTo20;
        y[2] = TLanes.Sum(TLanes.Add(even2, odd2)) * TwoTo20;
        y[3] = TLanes.Sum(TLanes.Add(even3, odd3)) * TwoTo20;
        y[4] = TLanes.Sum(TLanes.Add(even4, odd4)) * TwoTo20;
        y[5] = TLanes.Sum(TLanes.Add(even5, odd5)) * TwoTo20;
        y[6] = TLanes.Sum(TLanes.Add(even6, odd6)) * TwoTo20;
        y[7] = TLanes.Sum(TLanes.Add(even7, odd7)) * TwoTo20;
        return !TLanes.HasNaNFloat8(largest) && float.IsFinite(y[0] + y[1] + y[2] + y[3] + y[4] + y[5] + y[6] + y[7]);
    }

    /// <summary>Two rows of the same blocks at once; false where a code is NaN or a sum is not finite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool TryTwoRows<TLanes>(byte* data, long rowBytes, byte* scales, int vectors, int block, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes largest = TLanes.Zero;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        byte* next = data + (2 * rowBytes);
        for (int start = 0; start < vectors; start += block)
        {
            TLanes scale = TLanes.Broadcast(Unsafe.ReadUnaligned<float>(scales + (4L * (start / block))) * TwoTo100);
            int end = Math.Min(start + block, vectors);
            for (int c = start; c < end; c += 4 * width, data += 4 * width, next += 8 * width)
            {
                TLanes a = TLanes.Load(x + c), b = TLanes.Load(x + c + width);
                TLanes xEven = TLanes.EvenOf(a, b), xOdd = TLanes.OddOf(a, b);
                a = TLanes.Load(x + c + (2 * width));
                b = TLanes.Load(x + c + (3 * width));
                TLanes yEven = TLanes.EvenOf(a, b), yOdd = TLanes.OddOf(a, b);
                TLanes x0 = TLanes.Multiply(TLanes.EvenOf(xEven, yEven), scale), x1 = TLanes.Multiply(TLanes.EvenOf(xOdd, yOdd), scale);
                TLanes x2 = TLanes.Multiply(TLanes.OddOf(xEven, yEven), scale), x3 = TLanes.Multiply(TLanes.OddOf(xOdd, yOdd), scale);
                TLanes bits, halves;
                Prefetch.NextPage(next, 8 * width);
                Prefetch.NextLine(next);
                bits = TLanes.Load((float*)(data));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even0);
                even0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even0);
                halves = TLanes.OddFloat8(bits);
                odd0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd0);
                odd0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd0);
                Prefetch.NextLine(next + (4 * width));
                bits = TLanes.Load((float*)(data + rowBytes));
                largest = TLanes.LargestFloat8(largest, bits);
                halves = TLanes.EvenFloat8(bits);
                even1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x0, even1);
                even1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x2, even1);
                halves = TLanes.OddFloat8(bits);
                odd1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(halves), x1, odd1);
                odd1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(halves), x3, odd1);
            }
        }

        y[0] = TLanes.Sum(TLanes.Add(even0, odd0)) * TwoTo20;
        y[1] = TLanes.Sum(TLanes.Add(even1, odd1)) * TwoTo20;
        return float.IsFinite(y[0]) && float.IsFinite(y[1]) && !TLanes.HasNaNFloat8(largest);
    }

    /// <summary>Any block size and scale, and the codes of NaN; <paramref name="values"/> has room for two rows.</summary>
    private static float DecodedRow<TLanes>(in WeightMatrix weight, int row, byte* scales, int vectors, float* x, float* values)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        float* scaled = values + weight.Columns;
        WeightDecoder.DecodeArranged<TLanes>(weight, row, values);
        Arrangement.Scale(x, scaled, 0, vectors, scales, weight.BlockColumns);
        TLanes even = TLanes.Zero, odd = TLanes.Zero;
        for (int c = 0; c < vectors; c += 4 * width)
        {
            Arrangement.Quad<TLanes>(scaled + c, out TLanes x0, out TLanes x1, out TLanes x2, out TLanes x3);
            even = TLanes.MultiplyAdd(TLanes.Load(values + c), x0, even);
            odd = TLanes.MultiplyAdd(TLanes.Load(values + c + width), x1, odd);
            even = TLanes.MultiplyAdd(TLanes.Load(values + c + (2 * width)), x2, even);
            odd = TLanes.MultiplyAdd(TLanes.Load(values + c + (3 * width)), x3, odd);
        }

        return TLanes.Sum(TLanes.Add(even, odd));
    }
}
