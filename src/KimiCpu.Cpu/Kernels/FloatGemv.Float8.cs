// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// FP8, two rows at once for one token: twice the chains of multiply-adds, whose latency would bind a single row, and each
/// activation loaded once. A row's sum has the same order, so the same bits.
/// </summary>
internal static unsafe partial class FloatGemv
{
    private const float TwoTo120 = 1.329227995784916e36f;

    /// <summary>Bytes that each of the two rows is asked for ahead; behind its end, the row after the next.</summary>
    private const int PairDistance = 4096;

    /// <summary>Each weight is multiplied by its block's scale first, as <see cref="WeightDecoder"/> does.</summary>
    private static void Float8Rows<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int columns = weight.Columns;
        int block = weight.BlockColumns;
        int blocksPerRow = (columns + block - 1) / block;
        int step = 2 * TLanes.Count;
        int vectors = columns / step * step;
        for (int r = rowBegin; r < rowEnd;)
        {
            byte* data = weight.Data + (r * weight.RowBytes);
            byte* next = data + weight.RowBytes;
            byte* scales = weight.Scales + (4L * (r / weight.BlockRows) * blocksPerRow);
            bool pair = r + 1 < rowEnd && (r + 1) % weight.BlockRows != 0 && block % step == 0
                && TryFloat8Pair<TLanes>(data, next, scales, vectors, block, x, y + r) && !HasNaN(data, vectors) && !HasNaN(next, vectors);
            if (!pair)
            {
                y[r] = Float8Vectors<TLanes>(data, scales, vectors, block, x);
            }

            for (int done = pair ? 2 : 1; done > 0; done--, r++, data = next)
            {
                y[r] += Float8Rest(data, scales, block, vectors, columns, x);
            }
        }
    }

    /// <summary>
    /// Codes moved into the place of a float are the value times 2^-120, which goes into the scale: the product with it is
    /// rounded once either way. Not for the codes of NaN, nor for scales that would overflow: false then.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool TryFloat8Pair<TLanes>(byte* first, byte* second, byte* scales, int vectors, int block, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int step = 2 * TLanes.Count;
        TLanes even0 = TLanes.Zero;
        TLanes odd0 = TLanes.Zero;
        TLanes even1 = TLanes.Zero;
        TLanes odd1 = TLanes.Zero;
        long wrap = second - first - PairDistance;
        for (int start = 0; start < vectors; start += block)
        {
            float factor = Unsafe.ReadUnaligned<float>(scales + (4L * (start / block))) * TwoTo120;
            if (!float.IsFinite(factor))
            {
                return false;
            }

            var scale = TLanes.Broadcast(factor);
            int end = Math.Min(start + block, vectors);
            for (int c = start; c < end; c += step)
            {
                var xEven = TLanes.Load(x + c);
                var xOdd = TLanes.Load(x + c + TLanes.Count);
                Float8Row<TLanes>.Prefetch((c & 32) == 0 ? first : second, c, (int)(c < wrap ? PairDistance : PairDistance + (second - first)));
                even0 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadShiftedFloat8(first + c), scale), xEven, even0);
                odd0 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadShiftedFloat8(first + c + TLanes.Count), scale), xOdd, odd0);
                even1 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadShiftedFloat8(second + c), scale), xEven, even1);
                odd1 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadShiftedFloat8(second + c + TLanes.Count), scale), xOdd, odd1);
            }
        }

        y[0] = TLanes.Sum(TLanes.Add(even0, odd0));
        y[1] = TLanes.Sum(TLanes.Add(even1, odd1));
        return true;
    }

    /// <summary>Whether any code has all bits set but the sign. The codes are in the nearest cache by then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool HasNaN(byte* codes, int count)
    {
        var sign = Vector512.Create((byte)0x80);
        Vector512<byte> largest = Vector512<byte>.Zero;
        int c = 0;
        for (; c <= count - Vector512<byte>.Count; c += Vector512<byte>.Count)
        {
            largest = Vector512.Max(largest, Vector512.Load(codes + c) | sign);
        }

        bool found = Vector512.EqualsAny(largest, Vector512<byte>.AllBitsSet);
        for (; c < count; c++)
        {
            found |= (codes[c] | 0x80) == 0xFF;
        }

        return found;
    }

    /// <summary>Any block size and scale, and the codes of NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Float8Vectors<TLanes>(byte* data, byte* scales, int vectors, int block, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int step = 2 * TLanes.Count;
        TLanes even = TLanes.Zero;
        TLanes odd = TLanes.Zero;
        if (block % step == 0)
        {
            for (int start = 0; start < vectors; start += block)
            {
                TLanes scale = TLanes.Broadcast(Unsafe.ReadUnaligned<float>(scales + (4L * (start / block))));
                int end = Math.Min(start + block, vectors);
                for (int c = start; c < end; c += step)
                {
                    Float8Row<TLanes>.Prefetch(data, c, PrefetchDistance);
                    even = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadFloat8(data + c), scale), TLanes.Load(x + c), even);
                    odd = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadFloat8(data + c + TLanes.Count), scale), TLanes.Load(x + c + TLanes.Count), odd);
                }
            }
        }
        else
        {
            float* decoded = stackalloc float[TLanes.Count];
            for (int c = 0; c < vectors; c += TLanes.Count)
            {
                for (int i = 0; i < TLanes.Count; i++)
                {
                    decoded[i] = Element(data, scales, block, c + i);
                }

                bool isEven = c / TLanes.Count % 2 == 0;
                TLanes sum = TLanes.MultiplyAdd(TLanes.Load(decoded), TLanes.Load(x + c), isEven ? even : odd);
                (even, odd) = isEven ? (sum, odd) : (even, sum);
            }
        }

        return TLanes.Sum(TLanes.Add(even, odd));
    }

    /// <summary>The columns behind the last pair of vectors.</summary>
    private static float Float8Rest(byte* data, byte* scales, int block, int begin, int end, float* x)
    {
        float rest = 0;
        for (int c = begin; c < end; c++)
        {
            rest += Element(data, scales, block, c) * x[c];
        }

        return rest;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Element(byte* data, byte* scales, int block, int column) =>
        Float8E4M3.Values[data[column]] * Unsafe.ReadUnaligned<float>(scales + (4L * (column / block)));
}
