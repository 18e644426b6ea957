// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// BF16: a line of weights meets two lines of activations, which come from the second-level cache once a row is longer than
/// the first holds; several rows at once share them.
/// </summary>
internal static unsafe partial class FloatGemv
{
    private static void BFloat16Rows<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (CpuFeatures.PrefetchStyle == PrefetchStyle.EveryLineTwice)
        {
            rowBegin += BFloat16Streams<TLanes>(weight, rowBegin, rowEnd, x, y);
        }

        BFloat16SideBySide<TLanes>(weight, rowBegin, rowEnd, x, y);
    }

    /// <summary>As many rows together as share activations best.</summary>
    internal static void BFloat16SideBySide<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int vectors = weight.Columns / (2 * TLanes.Count) * 2 * TLanes.Count;
        for (int r = rowBegin; r < rowEnd;)
        {
            byte* data = weight.Data + (r * weight.RowBytes);
            int done = TLanes.Count == 16 && rowEnd - r >= 8 ? 8 : rowEnd - r >= 4 ? 4 : 1;
            switch (done)
            {
                case 8:
                    EightRows<TLanes>(data, weight.RowBytes, vectors, x, y + r);
                    break;
                case 4:
                    FourRows<TLanes>(data, weight.RowBytes, vectors, x, y + r);
                    break;
                default:
                    y[r] = OneRow<TLanes>(data, weight.RowBytes, vectors, x);
                    break;
            }

            for (int end = r + done; r < end; r++, data += weight.RowBytes)
            {
                y[r] += BFloat16Rest(data, vectors, weight.Columns, x);
            }
        }
    }

    /// <summary>Eight rows at once, which load and unzip an activation once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightRows<TLanes>(byte* data, long rowBytes, int vectors, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        TLanes even2 = TLanes.Zero, odd2 = TLanes.Zero;
        TLanes even3 = TLanes.Zero, odd3 = TLanes.Zero;
        TLanes even4 = TLanes.Zero, odd4 = TLanes.Zero;
        TLanes even5 = TLanes.Zero, odd5 = TLanes.Zero;
        TLanes even6 = TLanes.Zero, odd6 = TLanes.Zero;
        TLanes even7 = TLanes.Zero, odd7 = TLanes.Zero;
        byte* next = data + (8 * rowBytes);
        for (int c = 0; c < vectors; c += 2 * width, data += 4 * width, next += 32 * width)
        {
            TLanes x0 = TLanes.Load(x + c), x1 = TLanes.Load(x + c + width);
            TLanes xEven = TLanes.EvenOf(x0, x1), xOdd = TLanes.OddOf(x0, x1);
            TLanes bits;
            Prefetch.NextPage(next, 32 * width);
            Prefetch.NextLine(next);
            bits = TLanes.Load((float*)(data));
            even0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even0);
            odd0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd0);
            Prefetch.NextLine(next + (4 * width));
            bits = TLanes.Load((float*)(data + rowBytes));
            even1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even1);
            odd1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd1);
            Prefetch.NextLine(next + (8 * width));
            bits = TLanes.Load((float*)(data + (2 * rowBytes)));
            even2 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even2);
            odd2 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd2);
            Prefetch.NextLine(next + (12 * width));
            bits = TLanes.Load((float*)(data + (3 * rowBytes)));
            even3 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even3);
            odd3 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd3);
            Prefetch.NextLine(next + (16 * width));
            bits = TLanes.Load((float*)(data + (4 * rowBytes)));
            even4 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even4);
            odd4 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd4);
            Prefetch.NextLine(next + (20 * width));
            bits = TLanes.Load((float*)(data + (5 * rowBytes)));
            even5 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even5);
            odd5 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd5);
            Prefetch.NextLine(next + (24 * width));
            bits = TLanes.Load((float*)(data + (6 * rowBytes)));
            even6 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even6);
            odd6 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd6);
            Prefetch.NextLine(next + (28 * width));
            bits = TLanes.Load((float*)(data + (7 * rowBytes)));
            even7 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even7);
            odd7 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd7);
        }

        y[0] = TLanes.Sum(TLanes.Add(even0, odd0));
        y[1] = TLanes.Sum(TLanes.Add(even1, odd1));
        y[2] = TLanes.Sum(TLanes.Add(even2, odd2));
        y[3] = TLanes.Sum(TLanes.Add(even3, odd3));
        y[4] = TLanes.Sum(TLanes.Add(even4, odd4));
        y[5] = TLanes.Sum(TLanes.Add(even5, odd5));
        y[6] = TLanes.Sum(TLanes.Add(even6, odd6));
        y[7] = TLanes.Sum(TLanes.Add(even7, odd7));
    }

    /// <summary>Four rows at once, which load and unzip an activation once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourRows<TLanes>(byte* data, long rowBytes, int vectors, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes even0 = TLanes.Zero, odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero, odd1 = TLanes.Zero;
        TLanes even2 = TLanes.Zero, odd2 = TLanes.Zero;
        TLanes even3 = TLanes.Zero, odd3 = TLanes.Zero;
        byte* next = data + (4 * rowBytes);
        for (int c = 0; c < vectors; c += 2 * width, data += 4 * width, next += 16 * width)
        {
            TLanes x0 = TLanes.Load(x + c), x1 = TLanes.Load(x + c + width);
            TLanes xEven = TLanes.EvenOf(x0, x1), xOdd = TLanes.OddOf(x0, x1);
            TLanes bits;
            Prefetch.NextPage(next, 16 * width);
            Prefetch.NextLine(next);
            bits = TLanes.Load((float*)(data));
            even0 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even0);
            odd0 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd0);
            Prefetch.NextLine(next + (4 * width));
            bits = TLanes.Load((float*)(data + rowBytes));
            even1 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even1);
            odd1 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd1);
            Prefetch.NextLine(next + (8 * width));
            bits = TLanes.Load((float*)(data + (2 * rowBytes)));
            even2 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even2);
            odd2 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd2);
            Prefetch.NextLine(next + (12 * width));
            bits = TLanes.Load((float*)(data + (3 * rowBytes)));
            even3 = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), xEven, even3);
            odd3 = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), xOdd, odd3);
        }

        y[0] = TLanes.Sum(TLanes.Add(even0, odd0));
        y[1] = TLanes.Sum(TLanes.Add(even1, odd1));
        y[2] = TLanes.Sum(TLanes.Add(even2, odd2));
        y[3] = TLanes.Sum(TLanes.Add(even3, odd3));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float OneRow<TLanes>(byte* data, long rowBytes, int vectors, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        TLanes even = TLanes.Zero, odd = TLanes.Zero;
        for (int c = 0; c < vectors; c += 2 * width, data += 4 * width)
        {
            TLanes x0 = TLanes.Load(x + c), x1 = TLanes.Load(x + c + width);
            TLanes bits = TLanes.Load((float*)data);
            Prefetch.NextPage(data + rowBytes, 4 * width);
            Prefetch.NextLine(data + rowBytes);
            even = TLanes.MultiplyAdd(TLanes.EvenBFloat16(bits), TLanes.EvenOf(x0, x1), even);
            odd = TLanes.MultiplyAdd(TLanes.OddBFloat16(bits), TLanes.OddOf(x0, x1), odd);
        }

        return TLanes.Sum(TLanes.Add(even, odd));
    }

    /// <summary>The columns behind the last pair of vectors.</summary>
    internal static float BFloat16Rest(byte* data, int begin, int end, float* x)
    {
        float rest = 0;
        for (int c = begin; c < end; c++)
        {
            rest += BFloat16.ToSingle(Unsafe.ReadUnaligned<ushort>(data + (2L * c))) * x[c];
        }

        return rest;
    }
}
