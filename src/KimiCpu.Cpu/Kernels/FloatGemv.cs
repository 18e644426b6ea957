// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Weights of any format, as stored, times single-precision activations. One token is bound by memory: a BF16 row is
/// read once at 2 bytes a weight. Several tokens go to <see cref="BFloat16Gemm"/> and <see cref="FloatGemm"/>. The sum of a (row, token) pair never
/// depends on how many tokens or rows a call has: even and odd vectors of a row are two chains of multiply-adds, their
/// sum is folded, and the columns behind the last pair of vectors are added one by one. The only exception are FP8 sums below some 1e-28: one token's rows
/// are multiplied with a factor that keeps their products from becoming subnormal, where there are enough rows for that way, and others lose bits of them.
/// </summary>
internal static unsafe partial class FloatGemv
{
    /// <summary>Bytes ahead in each row that lines are asked for once more, with <see cref="Prefetch.NearLine"/>.</summary>
    private const int NearDistance = 1024;

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
        if (tokens > 1)
        {
            if (weight.Format == WeightFormat.BFloat16)
            {
                BFloat16Gemm.Multiply<TLanes>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
                return;
            }

            FloatGemm.Multiply<TLanes>(weight, rowBegin, rowEnd, x, xStride, tokens, y, yStride);
            return;
        }

        switch (weight.Format)
        {
            case WeightFormat.BFloat16:
                BFloat16Rows<TLanes>(weight, rowBegin, rowEnd, x, y);
                break;
            case WeightFormat.Float8Block:
                Float8Rows<TLanes>(weight, rowBegin, rowEnd, x, y);
                break;
            case WeightFormat.Float32:
                for (int r = rowBegin; r < rowEnd; r++)
                {
                    y[r] = Float32Row<TLanes>((float*)(weight.Data + (r * weight.RowBytes)), weight.Columns, x);
                }

                break;
            default:
                DecodedRows<TLanes>(weight, rowBegin, rowEnd, x, y);
                break;
        }
    }

    /// <summary>Formats that are decoded to floats first: F16, and INT4 in exact mode. Not a hot path of Kimi K2.</summary>
    private static void DecodedRows<TLanes>(in WeightMatrix weight, int rowBegin, int rowEnd, float* x, float* y)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* row = FloatGemm.Scratch(weight.Columns);
        for (int r = rowBegin; r < rowEnd; r++)
        {
            WeightDecoder.DecodeRow(weight, r, new Span<float>(row, weight.Columns));
            y[r] = Float32Row<TLanes>(row, weight.Columns, x);
        }
    }

    private static float Float32Row<TLanes>(float* row, int columns, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int vectors = columns / (2 * TLanes.Count) * 2 * TLanes.Count;
        float rest = 0;
        for (int c = vectors; c < columns; c++)
        {
            rest += row[c] * x[c];
        }

        return Float32Vectors<TLanes>(row, vectors, x) + rest;
    }

    /// <summary>Free of calls, or the compiler keeps the sums in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Float32Vectors<TLanes>(float* row, int vectors, float* x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes even = TLanes.Zero;
        TLanes odd = TLanes.Zero;
        for (int c = 0; c < vectors; c += 2 * TLanes.Count)
        {
            even = TLanes.MultiplyAdd(TLanes.Load(row + c), TLanes.Load(x + c), even);
            odd = TLanes.MultiplyAdd(TLanes.Load(row + c + TLanes.Count), TLanes.Load(x + c + TLanes.Count), odd);
        }

        return TLanes.Sum(TLanes.Add(even, odd));
    }
}
