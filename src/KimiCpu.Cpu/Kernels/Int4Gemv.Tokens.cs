// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Several tokens, each block of weights unpacked in registers once for all of them. Putting 32 rows in the order of a tile
/// takes as long as multiplying them with four tokens, which is what so few need not pay.
/// </summary>
internal static unsafe partial class Int4Gemv
{
    /// <summary>Most tokens of <see cref="MultiplyTokens"/>.</summary>
    public const int MostTokens = 3;

    /// <summary>Packed bytes of eight groups, whose sums of products fill a vector.</summary>
    private const int HalfBytes = StepBytes / 2;

    /// <summary>y[t * yStride + r] = Σ W[r, c] x_t[c], to the bit what <see cref="Multiply(InstructionSet, in WeightMatrix, int, int, QuantizedRow, float*)"/> gives for each token.</summary>
    /// <param name="set">Must be supported.</param>
    /// <param name="weight">(rows, columns) in <see cref="WeightFormat.Int4Group32"/>.</param>
    /// <param name="rowBegin">First row to compute.</param>
    /// <param name="rowEnd">Behind the last.</param>
    /// <param name="x">1 … <see cref="MostTokens"/> rounded rows of weight.Columns columns.</param>
    /// <param name="y">Row r of token t is written to y[t * yStride + r].</param>
    /// <param name="yStride">Floats.</param>
    public static void MultiplyTokens(InstructionSet set, in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride)
    {
        switch (set, x.Length)
        {
            case (InstructionSet.Avx2, 2):
                MultiplyTokensAvx2<TwoTokens>(weight, rowBegin, rowEnd, x, y, yStride);
                break;
            case (InstructionSet.Avx2, 3):
                MultiplyTokensAvx2<ThreeTokens>(weight, rowBegin, rowEnd, x, y, yStride);
                break;
            default:
                for (int t = 0; t < x.Length; t++)
                {
                    Multiply(set, weight, rowBegin, rowEnd, x[t], y + (t * yStride));
                }

                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyTokensAvx2<TTokens>(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride)
        where TTokens : ITokenCount
    {
        int groups = Int4Group32.GroupsPerRow(weight.Columns);
        var steps = new RowSteps(weight.Columns);
        int count = steps.HasRest ? steps.Whole + 1 : steps.Whole;
        byte* rest = stackalloc byte[StepBytes + (2 * LaneSum.Lanes)];
        float* lanes = stackalloc float[LaneSum.Lanes * MostTokens];

        // Rows of one width are alike: what is so far apart in one of them is as far apart in all.
        QuantizedRow first = x[0];
        long second = x[1].Even - first.Even;
        long third = TTokens.Count > 2 ? x[2].Even - first.Even : 0;
        long oddAt = first.Odd - first.Even;
        for (int r = rowBegin; r < rowEnd; r++)
        {
            byte* data = DataOf(weight, r);
            ushort* scales = ScalesOf(weight, r, groups);
            sbyte* even = first.Even;
            byte* corrections = (byte*)first.Corrections;
            byte* factors = (byte*)first.Scales;
            float* sums = lanes;
            new Span<float>(lanes, LaneSum.Lanes * TTokens.Count).Clear();
            for (int s = 0; s < count; s++)
            {
                Prefetch.NextPage(data + Prefetch.PagesAhead, StepBytes);
                Prefetch.NextLine(data + PrefetchDistance);
                Prefetch.NextLine(data + PrefetchDistance + 64);
                Prefetch.NextLine(data + PrefetchDistance + 128);
                Prefetch.NextLine(data + PrefetchDistance + 192);
                if (s == steps.Whole)
                {
                    steps.CopyRest(data, scales, rest);
                    data = rest;
                    scales = (ushort*)(rest + StepBytes);
                }

                for (int half = 0; half < 2; half++)
                {
                    Vector256<byte> mask = Vector256.Create((byte)15);
                    Vector256<byte> a = Vector256.Load(data), b = Vector256.Load(data + 32), c = Vector256.Load(data + 64), d = Vector256.Load(data + 96);
                    var evens = new WeightsOfEight(a & mask, b & mask, c & mask, d & mask);
                    var odds = new WeightsOfEight(
                        (a.AsUInt16() >> 4).AsByte() & mask, (b.AsUInt16() >> 4).AsByte() & mask, (c.AsUInt16() >> 4).AsByte() & mask, (d.AsUInt16() >> 4).AsByte() & mask);
                    Vector256<float> scale = (Avx2.ConvertToVector256Int32(scales) << 16).AsSingle();
                    Token(evens, odds, scale, even, oddAt, corrections, factors, sums);
                    Token(evens, odds, scale, even + second, oddAt, corrections + second, factors + second, sums + LaneSum.Lanes);
                    if (TTokens.Count > 2)
                    {
                        Token(evens, odds, scale, even + third, oddAt, corrections + third, factors + third, sums + (2 * LaneSum.Lanes));
                    }

                    data += HalfBytes;
                    scales += LaneSum.Lanes / 2;
                    even += HalfBytes;
                    corrections += Vector256<byte>.Count;
                    factors += Vector256<byte>.Count;
                    sums += Vector256<float>.Count;
                }

                sums -= LaneSum.Lanes;
            }

            for (int t = 0; t < TTokens.Count; t++)
            {
                y[(t * yStride) + r] = LaneSum.Fold(lanes + (t * LaneSum.Lanes));
            }
        }
    }

    /// <summary>Adds the products of eight groups to their lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Token(WeightsOfEight evens, WeightsOfEight odds, Vector256<float> scale, sbyte* even, long oddAt, byte* corrections, byte* factors, float* sums)
    {
        sbyte* odd = even + oddAt;
        Vector256<int> a, b, c, d;
        if (AvxVnni.IsSupported)
        {
            a = Dot32(evens.Groups0, odds.Groups0, even, odd);
            b = Dot32(evens.Groups2, odds.Groups2, even + 32, odd + 32);
            c = Dot32(evens.Groups4, odds.Groups4, even + 64, odd + 64);
            d = Dot32(evens.Groups6, odds.Groups6, even + 96, odd + 96);
        }
        else
        {
            // The same side by side: the processor looks ahead too few instructions to find what it can do meanwhile.
            Vector256<short> a16 = Avx2.MultiplyAddAdjacent(evens.Groups0, Vector256.Load(even));
            Vector256<short> b16 = Avx2.MultiplyAddAdjacent(evens.Groups2, Vector256.Load(even + 32));
            Vector256<short> c16 = Avx2.MultiplyAddAdjacent(evens.Groups4, Vector256.Load(even + 64));
            Vector256<short> d16 = Avx2.MultiplyAddAdjacent(evens.Groups6, Vector256.Load(even + 96));
            a16 += Avx2.MultiplyAddAdjacent(odds.Groups0, Vector256.Load(odd));
            b16 += Avx2.MultiplyAddAdjacent(odds.Groups2, Vector256.Load(odd + 32));
            c16 += Avx2.MultiplyAddAdjacent(odds.Groups4, Vector256.Load(odd + 64));
            d16 += Avx2.MultiplyAddAdjacent(odds.Groups6, Vector256.Load(odd + 96));
            a = Pairs(a16);
            b = Pairs(b16);
            c = Pairs(c16);
            d = Pairs(d16);
        }

        Vector256<int> dots = EightGroups(a, b, c, d) + Vector256.Load((int*)corrections);
        Vector256.FusedMultiplyAdd(Vector256.ConvertToSingle(dots), scale * Vector256.Load((float*)factors), Vector256.Load(sums)).Store(sums);
    }

    /// <summary>The even or the odd columns of eight groups of weights, two groups a vector.</summary>
    private readonly struct WeightsOfEight(Vector256<byte> groups0, Vector256<byte> groups2, Vector256<byte> groups4, Vector256<byte> groups6)
    {
        public readonly Vector256<byte> Groups0 = groups0;
        public readonly Vector256<byte> Groups2 = groups2;
        public readonly Vector256<byte> Groups4 = groups4;
        public readonly Vector256<byte> Groups6 = groups6;
    }
}
