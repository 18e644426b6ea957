// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Elementwise arithmetic and sums of rows between the products. Compiled fully at once: in a young process a library's vectors, which tier up, take
/// longer for a row than the products take for its matrix. Sums and exponentials, those of <see cref="RowSwiGlu"/> too, depend on the width of vectors in
/// their last bits; an element's result never depends on its place.
/// </summary>
internal static unsafe class RowMath
{
    /// <summary>Independent sums of a row.</summary>
    private const int Chains = 4;

    /// <summary>target[i] += x[i].</summary>
    public static void Add(Span<float> target, ReadOnlySpan<float> x) => Apply<RowSum>(CpuFeatures.Best, target, x, 1, target);

    /// <summary>target[i] += x[i] * factor.</summary>
    public static void AddScaled(Span<float> target, ReadOnlySpan<float> x, float factor) => Apply<RowScaleAdd>(CpuFeatures.Best, x, target, factor, target);

    /// <summary>target[i] = target[i] * factor + x[i].</summary>
    public static void ScaleAdd(Span<float> target, float factor, ReadOnlySpan<float> x) => Apply<RowScaleAdd>(CpuFeatures.Best, target, x, factor, target);

    /// <summary>sum[tokenOf[i] * sumStride + r] += y[i * stride + r] * weightOf[i], of each i by itself: the bits of <see cref="AddScaled"/>.</summary>
    /// <param name="set">Which path; must be supported.</param>
    /// <param name="y">Rows <paramref name="stride"/> apart.</param>
    /// <param name="stride">Floats.</param>
    /// <param name="rows">Elements of a row.</param>
    /// <param name="tokenOf">(count) which rows of the sums.</param>
    /// <param name="weightOf">(count) factors.</param>
    /// <param name="count">Rows.</param>
    /// <param name="sum">Receives the sums.</param>
    /// <param name="sumStride">Floats.</param>
    public static void AddScaledRows(InstructionSet set, float* y, long stride, int rows, int* tokenOf, float* weightOf, int count, float* sum, long sumStride)
    {
        switch (set)
        {
            case InstructionSet.Avx512:
                AddScaledRows<Lanes512>(y, stride, rows, tokenOf, weightOf, count, sum, sumStride);
                break;
            case InstructionSet.Avx2:
                AddScaledRows<Lanes256>(y, stride, rows, tokenOf, weightOf, count, sum, sumStride);
                break;
            case InstructionSet.Vector128:
                AddScaledRows<Lanes128>(y, stride, rows, tokenOf, weightOf, count, sum, sumStride);
                break;
            default:
                AddScaledRows<LanesScalar>(y, stride, rows, tokenOf, weightOf, count, sum, sumStride);
                break;
        }
    }

    /// <summary>target[i] = x[i] * factor; target may be x.</summary>
    public static void Scale(ReadOnlySpan<float> x, float factor, Span<float> target) => Apply<RowScale>(CpuFeatures.Best, x, x, factor, target);

    /// <param name="set">Which path; must be supported.</param>
    /// <param name="x">(n).</param>
    /// <param name="y">(n).</param>
    /// <param name="factor">Of all elements.</param>
    /// <param name="target">(n); may be one of the others.</param>
    public static void Apply<TOperation>(InstructionSet set, ReadOnlySpan<float> x, ReadOnlySpan<float> y, float factor, Span<float> target)
        where TOperation : IRowOperation
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(y.Length, x.Length);
        ArgumentOutOfRangeException.ThrowIfNotEqual(target.Length, x.Length);
        fixed (float* px = x, py = y, result = target)
        {
            switch (set)
            {
                case InstructionSet.Avx512:
                    Apply<Lanes512, TOperation>(px, py, factor, result, x.Length);
                    break;
                case InstructionSet.Avx2:
                    Apply<Lanes256, TOperation>(px, py, factor, result, x.Length);
                    break;
                case InstructionSet.Vector128:
                    Apply<Lanes128, TOperation>(px, py, factor, result, x.Length);
                    break;
                default:
                    Apply<LanesScalar, TOperation>(px, py, factor, result, x.Length);
                    break;
            }
        }
    }

    /// <summary>target[i] = e^((x[i] - shift) / divisor), for quotients up to <see cref="Exponential.Largest"/>; target may be x.</summary>
    public static void Exponentials(InstructionSet set, ReadOnlySpan<float> x, float shift, float divisor, Span<float> target)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(target.Length, x.Length);
        fixed (float* px = x, result = target)
        {
            switch (set)
            {
                case InstructionSet.Avx512:
                    Exponentials<Lanes512>(px, shift, divisor, result, x.Length);
                    break;
                case InstructionSet.Avx2:
                    Exponentials<Lanes256>(px, shift, divisor, result, x.Length);
                    break;
                case InstructionSet.Vector128:
                    Exponentials<Lanes128>(px, shift, divisor, result, x.Length);
                    break;
                default:
                    Exponentials<LanesScalar>(px, shift, divisor, result, x.Length);
                    break;
            }
        }
    }

    /// <summary>The largest element; minus infinity of none. NaNs are passed over.</summary>
    public static float Max(InstructionSet set, ReadOnlySpan<float> x)
    {
        fixed (float* px = x)
        {
            return set switch
            {
                InstructionSet.Avx512 => Max<Lanes512>(px, x.Length),
                InstructionSet.Avx2 => Max<Lanes256>(px, x.Length),
                InstructionSet.Vector128 => Max<Lanes128>(px, x.Length),
                _ => Max<LanesScalar>(px, x.Length),
            };
        }
    }

    /// <summary>Σ x[i]².</summary>
    public static float SumOfSquares(InstructionSet set, ReadOnlySpan<float> x)
    {
        fixed (float* px = x)
        {
            return set switch
            {
                InstructionSet.Avx512 => SumOfSquares<Lanes512>(px, x.Length),
                InstructionSet.Avx2 => SumOfSquares<Lanes256>(px, x.Length),
                InstructionSet.Vector128 => SumOfSquares<Lanes128>(px, x.Length),
                _ => SumOfSquares<LanesScalar>(px, x.Length),
            };
        }
    }

    /// <summary>Whether there is no NaN and no infinity.</summary>
    public static bool IsFinite(InstructionSet set, ReadOnlySpan<float> x)
    {
        fixed (float* px = x)
        {
            return set switch
            {
                InstructionSet.Avx512 => IsFinite<Lanes512>(px, x.Length),
                InstructionSet.Avx2 => IsFinite<Lanes256>(px, x.Length),
                InstructionSet.Vector128 => IsFinite<Lanes128>(px, x.Length),
                _ => IsFinite<LanesScalar>(px, x.Length),
            };
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddScaledRows<TLanes>(float* y, long stride, int rows, int* tokenOf, float* weightOf, int count, float* sum, long sumStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int i = 0; i < count; i++, y += stride)
        {
            float* target = sum + (tokenOf[i] * sumStride);
            if (rows % TLanes.Count != 0)
            {
                Apply<TLanes, RowScaleAdd>(y, target, weightOf[i], target, rows);
                continue;
            }

            TLanes factors = TLanes.Broadcast(weightOf[i]);
            for (int r = 0; r < rows; r += TLanes.Count)
            {
                TLanes.Store(RowScaleAdd.Apply(TLanes.Load(y + r), TLanes.Load(target + r), factors), target + r);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Apply<TLanes, TOperation>(float* x, float* y, float factor, float* target, int count)
        where TLanes : unmanaged, ILanes<TLanes>
        where TOperation : IRowOperation
    {
        TLanes factors = TLanes.Broadcast(factor);
        int i = 0;
        for (; i <= count - TLanes.Count; i += TLanes.Count)
        {
            TLanes.Store(TOperation.Apply(TLanes.Load(x + i), TLanes.Load(y + i), factors), target + i);
        }

        if (i < count)
        {
            // The rest takes the same instructions, so a value does not depend on its place in a row.
            float* padded = stackalloc float[2 * TLanes.Count];
            new Span<float>(padded, 2 * TLanes.Count).Clear();
            for (int rest = i; rest < count; rest++)
            {
                padded[rest - i] = x[rest];
                padded[TLanes.Count + rest - i] = y[rest];
            }

            TLanes.Store(TOperation.Apply(TLanes.Load(padded), TLanes.Load(padded + TLanes.Count), factors), padded);
            for (int rest = i; rest < count; rest++)
            {
                target[rest] = padded[rest - i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Exponentials<TLanes>(float* x, float shift, float divisor, float* target, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes shifts = TLanes.Broadcast(shift), divisors = TLanes.Broadcast(divisor);
        int i = 0;
        for (; i <= count - TLanes.Count; i += TLanes.Count)
        {
            TLanes.Store(Exponential.Of(TLanes.Divide(TLanes.Subtract(TLanes.Load(x + i), shifts), divisors)), target + i);
        }

        if (i < count)
        {
            float* padded = stackalloc float[TLanes.Count];
            for (int lane = 0; lane < TLanes.Count; lane++)
            {
                padded[lane] = x[Math.Min(i + lane, count - 1)];
            }

            TLanes.Store(Exponential.Of(TLanes.Divide(TLanes.Subtract(TLanes.Load(padded), shifts), divisors)), padded);
            for (int rest = i; rest < count; rest++)
            {
                target[rest] = padded[rest - i];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float Max<TLanes>(float* x, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* lanes = stackalloc float[TLanes.Count];
        TLanes largest = TLanes.Broadcast(float.NegativeInfinity);
        int i = 0;
        for (; i <= count - TLanes.Count; i += TLanes.Count)
        {
            largest = TLanes.Max(TLanes.Load(x + i), largest);
        }

        TLanes.Store(largest, lanes);
        float result = float.NegativeInfinity;
        for (int lane = 0; lane < TLanes.Count; lane++)
        {
            result = lanes[lane] > result ? lanes[lane] : result;
        }

        for (; i < count; i++)
        {
            result = x[i] > result ? x[i] : result;
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float SumOfSquares<TLanes>(float* x, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes a = TLanes.Zero, b = TLanes.Zero, c = TLanes.Zero, d = TLanes.Zero;
        int i = 0;
        for (; i <= count - (Chains * TLanes.Count); i += Chains * TLanes.Count)
        {
            a = Square(x + i, a);
            b = Square(x + i + TLanes.Count, b);
            c = Square(x + i + (2 * TLanes.Count), c);
            d = Square(x + i + (3 * TLanes.Count), d);
        }

        float rest = 0;
        for (; i < count; i++)
        {
            rest += x[i] * x[i];
        }

        return TLanes.Sum(TLanes.Add(TLanes.Add(a, b), TLanes.Add(c, d))) + rest;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes Square<TLanes>(float* x, TLanes sum)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes value = TLanes.Load(x);
        return TLanes.MultiplyAdd(value, value, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static bool IsFinite<TLanes>(float* x, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        // x - x is 0 for finite values and NaN for all others.
        TLanes zeros = TLanes.Zero;
        int i = 0;
        for (; i <= count - TLanes.Count; i += TLanes.Count)
        {
            TLanes value = TLanes.Load(x + i);
            zeros = TLanes.Add(zeros, TLanes.Subtract(value, value));
        }

        float rest = TLanes.Sum(zeros);
        for (; i < count; i++)
        {
            rest += x[i] - x[i];
        }

        return rest == 0;
    }
}
