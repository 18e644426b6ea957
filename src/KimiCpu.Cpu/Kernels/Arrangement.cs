// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// The order in which floats of a row meet their activations. A vector of stored weights is loaded whole, because loads of
/// half a line read memory at half its rate; what it unpacks to are 1, 2 or 4 vectors of every first, second or fourth
/// column. Decoded rows and activations take the same order within each step, so that a product of several tokens adds up
/// exactly what one token's does.
/// </summary>
internal static unsafe class Arrangement
{
    /// <summary>Weights in 32 bits of a format whose vectors are unpacked; 1 for rows that are used as they are.</summary>
    public static int WeightsOfElement(WeightFormat format) => format switch
    {
        WeightFormat.BFloat16 => 2,
        WeightFormat.Float8Block => 4,
        _ => 1,
    };

    /// <summary>Columns of a step: an even number of vectors, which go to two chains of sums in turn.</summary>
    public static int Step<TLanes>(WeightFormat format)
        where TLanes : unmanaged, ILanes<TLanes> => Math.Max(2, WeightsOfElement(format)) * TLanes.Count;

    /// <summary>Brings whole steps of a row into order.</summary>
    /// <param name="source">(count) by rising column.</param>
    /// <param name="target">May be the source.</param>
    /// <param name="count">A multiple of the step.</param>
    /// <param name="weights"><see cref="WeightsOfElement"/>: 2 or 4.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Apply<TLanes>(float* source, float* target, int count, int weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int width = TLanes.Count;
        for (int c = 0; c < count; c += weights * width)
        {
            if (weights == 2)
            {
                Pair<TLanes>(source + c, out TLanes even, out TLanes odd);
                TLanes.Store(even, target + c);
                TLanes.Store(odd, target + c + width);
                continue;
            }

            Quad<TLanes>(source + c, out TLanes first, out TLanes second, out TLanes third, out TLanes fourth);
            TLanes.Store(first, target + c);
            TLanes.Store(second, target + c + width);
            TLanes.Store(third, target + c + (2 * width));
            TLanes.Store(fourth, target + c + (3 * width));
        }
    }

    /// <summary>target[i] = source[i] times the scale of the block of column first + i.</summary>
    public static void Scale(float* source, float* target, int first, int count, byte* scales, int block)
    {
        for (int done = 0; done < count;)
        {
            int column = first + done;
            int taken = Math.Min(count - done, block - (column % block));
            RowMath.Scale(
                new ReadOnlySpan<float>(source + done, taken), Unsafe.ReadUnaligned<float>(scales + (4L * (column / block))), new Span<float>(target + done, taken));
            done += taken;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Pair<TLanes>(float* source, out TLanes even, out TLanes odd)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes a = TLanes.Load(source);
        TLanes b = TLanes.Load(source + TLanes.Count);
        even = TLanes.EvenOf(a, b);
        odd = TLanes.OddOf(a, b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Quad<TLanes>(float* source, out TLanes first, out TLanes second, out TLanes third, out TLanes fourth)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        Pair<TLanes>(source, out TLanes even0, out TLanes odd0);
        Pair<TLanes>(source + (2 * TLanes.Count), out TLanes even1, out TLanes odd1);
        first = TLanes.EvenOf(even0, even1);
        second = TLanes.EvenOf(odd0, odd1);
        third = TLanes.OddOf(even0, even1);
        fourth = TLanes.OddOf(odd0, odd1);
    }
}
