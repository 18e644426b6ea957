// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>The inner loops, whose sums stay in registers.</summary>
internal sealed unsafe partial class QueryLanes
{
    /// <summary>Scores of as many keys as a tile takes; returns how many.</summary>
    private static int Score(int lanes, byte* keys, long rowBytes, int columns, int keysLeft, float* queries, bool add, float* scores, int stride)
    {
        if (lanes == MostLanes)
        {
            switch (keysLeft)
            {
                case 1:
                    FourVectors<OneToken>(keys, rowBytes, columns, queries, add, scores, stride);
                    return 1;
                case 2 or 4:
                    FourVectors<TwoTokens>(keys, rowBytes, columns, queries, add, scores, stride);
                    return 2;
                default:
                    FourVectors<ThreeTokens>(keys, rowBytes, columns, queries, add, scores, stride);
                    return 3;
            }
        }

        bool two = lanes > Lanes;
        switch (new TokenTiles(6).Next(keysLeft))
        {
            case 1:
                OneOrTwoVectors<OneToken>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 1;
            case 2:
                OneOrTwoVectors<TwoTokens>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 2;
            case 3:
                OneOrTwoVectors<ThreeTokens>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 3;
            case 4:
                OneOrTwoVectors<FourTokens>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 4;
            case 5:
                OneOrTwoVectors<FiveTokens>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 5;
            default:
                OneOrTwoVectors<SixTokens>(two, keys, rowBytes, columns, queries, add, scores, stride);
                return 6;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourVectors<TKeys>(byte* keys, long rowBytes, int columns, float* queries, bool add, float* scores, int stride)
        where TKeys : ITokenCount
    {
        Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default;
        Vector256<float> b0 = default, b1 = default, b2 = default, b3 = default;
        Vector256<float> c0 = default, c1 = default, c2 = default, c3 = default;
        if (add)
        {
            Load<TKeys>(0, scores, stride, ref a0, ref a1);
            Load<TKeys>(1, scores, stride, ref b0, ref b1);
            Load<TKeys>(2, scores, stride, ref c0, ref c1);
            Load<TKeys>(0, scores + (2 * Lanes), stride, ref a2, ref a3);
            Load<TKeys>(1, scores + (2 * Lanes), stride, ref b2, ref b3);
            Load<TKeys>(2, scores + (2 * Lanes), stride, ref c2, ref c3);
        }

        for (float* end = queries + (columns * MostLanes); queries < end; queries += MostLanes, keys += sizeof(ushort))
        {
            Vector256<float> a = Spread<TKeys>(0, keys), b = Spread<TKeys>(1, keys + rowBytes), c = Spread<TKeys>(2, keys + (2 * rowBytes));
            Add<TKeys>(Vector256.Load(queries), a, b, c, ref a0, ref b0, ref c0);
            Add<TKeys>(Vector256.Load(queries + Lanes), a, b, c, ref a1, ref b1, ref c1);
            Add<TKeys>(Vector256.Load(queries + (2 * Lanes)), a, b, c, ref a2, ref b2, ref c2);
            Add<TKeys>(Vector256.Load(queries + (3 * Lanes)), a, b, c, ref a3, ref b3, ref c3);
        }

        Store<TKeys>(0, scores, stride, a0, a1);
        Store<TKeys>(1, scores, stride, b0, b1);
        Store<TKeys>(2, scores, stride, c0, c1);
        Store<TKeys>(0, scores + (2 * Lanes), stride, a2, a3);
        Store<TKeys>(1, scores + (2 * Lanes), stride, b2, b3);
        Store<TKeys>(2, scores + (2 * Lanes), stride, c2, c3);
    }

    private static void OneOrTwoVectors<TKeys>(bool two, byte* keys, long rowBytes, int columns, float* queries, bool add, float* scores, int stride)
        where TKeys : ITokenCount
    {
        if (two)
        {
            Vectors<TKeys, TwoTokens>(keys, rowBytes, columns, queries, add, scores, stride);
        }
        else
        {
            Vectors<TKeys, OneToken>(keys, rowBytes, columns, queries, add, scores, stride);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Vectors<TKeys, TVectors>(byte* keys, long rowBytes, int columns, float* queries, bool add, float* scores, int stride)
        where TKeys : ITokenCount
        where TVectors : ITokenCount
    {
        Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default;
        Vector256<float> d0 = default, d1 = default, e0 = default, e1 = default, f0 = default, f1 = default;
        if (add)
        {
            Load<TKeys, TVectors>(0, scores, stride, ref a0, ref a1);
            Load<TKeys, TVectors>(1, scores, stride, ref b0, ref b1);
            Load<TKeys, TVectors>(2, scores, stride, ref c0, ref c1);
            Load<TKeys, TVectors>(3, scores, stride, ref d0, ref d1);
            Load<TKeys, TVectors>(4, scores, stride, ref e0, ref e1);
            Load<TKeys, TVectors>(5, scores, stride, ref f0, ref f1);
        }

        byte* others = keys + (3 * rowBytes);
        int lanes = TVectors.Count * Lanes;
        for (float* end = queries + (columns * lanes); queries < end; queries += lanes, keys += sizeof(ushort), others += sizeof(ushort))
        {
            Vector256<float> first = Vector256.Load(queries);
            Vector256<float> second = TVectors.Count > 1 ? Vector256.Load(queries + Lanes) : default;
            Add<TKeys, TVectors>(0, keys, first, second, ref a0, ref a1);
            Add<TKeys, TVectors>(1, keys + rowBytes, first, second, ref b0, ref b1);
            Add<TKeys, TVectors>(2, keys + (2 * rowBytes), first, second, ref c0, ref c1);
            Add<TKeys, TVectors>(3, others, first, second, ref d0, ref d1);
            Add<TKeys, TVectors>(4, others + rowBytes, first, second, ref e0, ref e1);
            Add<TKeys, TVectors>(5, others + (2 * rowBytes), first, second, ref f0, ref f1);
        }

        Store<TKeys, TVectors>(0, scores, stride, a0, a1);
        Store<TKeys, TVectors>(1, scores, stride, b0, b1);
        Store<TKeys, TVectors>(2, scores, stride, c0, c1);
        Store<TKeys, TVectors>(3, scores, stride, d0, d1);
        Store<TKeys, TVectors>(4, scores, stride, e0, e1);
        Store<TKeys, TVectors>(5, scores, stride, f0, f1);
    }

    private static void Accumulate(int contextCount, byte* values, long rowBytes, int rows, float* weights, int stride, float* contexts, int contextStride)
    {
        switch (contextCount)
        {
            case 1:
                Accumulate<OneToken>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
            case 2:
                Accumulate<TwoTokens>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
            case 3:
                Accumulate<ThreeTokens>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
            case 4:
                Accumulate<FourTokens>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
            case 5:
                Accumulate<FiveTokens>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
            default:
                Accumulate<SixTokens>(values, rowBytes, rows, weights, stride, contexts, contextStride);
                break;
        }
    }

    /// <summary>A pair of vectors of columns, even and odd, of up to six contexts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Accumulate<TContexts>(byte* values, long rowBytes, int rows, float* weights, int stride, float* contexts, int contextStride)
        where TContexts : ITokenCount
    {
        Vector256<float> a0 = default, a1 = default, b0 = default, b1 = default, c0 = default, c1 = default;
        Vector256<float> d0 = default, d1 = default, e0 = default, e1 = default, f0 = default, f1 = default;
        Load<TContexts>(0, contexts, contextStride, ref a0, ref a1);
        Load<TContexts>(1, contexts, contextStride, ref b0, ref b1);
        Load<TContexts>(2, contexts, contextStride, ref c0, ref c1);
        Load<TContexts>(3, contexts, contextStride, ref d0, ref d1);
        Load<TContexts>(4, contexts, contextStride, ref e0, ref e1);
        Load<TContexts>(5, contexts, contextStride, ref f0, ref f1);
        for (int row = 0; row < rows; row++, values += rowBytes, weights += stride)
        {
            Vector256<uint> bits = Vector256.Load((uint*)values);
            Vector256<float> even = (bits << 16).AsSingle(), odd = (bits & Vector256.Create(0xFFFF0000u)).AsSingle();
            Add<TContexts>(0, weights, even, odd, ref a0, ref a1);
            Add<TContexts>(1, weights, even, odd, ref b0, ref b1);
            Add<TContexts>(2, weights, even, odd, ref c0, ref c1);
            Add<TContexts>(3, weights, even, odd, ref d0, ref d1);
            Add<TContexts>(4, weights, even, odd, ref e0, ref e1);
            Add<TContexts>(5, weights, even, odd, ref f0, ref f1);
        }

        Store<TContexts>(0, contexts, contextStride, a0, a1);
        Store<TContexts>(1, contexts, contextStride, b0, b1);
        Store<TContexts>(2, contexts, contextStride, c0, c1);
        Store<TContexts>(3, contexts, contextStride, d0, d1);
        Store<TContexts>(4, contexts, contextStride, e0, e1);
        Store<TContexts>(5, contexts, contextStride, f0, f1);
    }

    /// <summary>Element i of eight rows becomes element i of eight vectors, <paramref name="stride"/> floats apart.</summary>
    private static void Transpose(float** rows, int column, float* target, int stride)
    {
        (Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d) = Quarters(rows, column);
        (Vector256<float> e, Vector256<float> f, Vector256<float> g, Vector256<float> h) = Quarters(rows + 4, column);
        Avx.Permute2x128(a, e, 0x20).Store(target);
        Avx.Permute2x128(b, f, 0x20).Store(target + stride);
        Avx.Permute2x128(c, g, 0x20).Store(target + (2 * stride));
        Avx.Permute2x128(d, h, 0x20).Store(target + (3 * stride));
        Avx.Permute2x128(a, e, 0x31).Store(target + (4 * stride));
        Avx.Permute2x128(b, f, 0x31).Store(target + (5 * stride));
        Avx.Permute2x128(c, g, 0x31).Store(target + (6 * stride));
        Avx.Permute2x128(d, h, 0x31).Store(target + (7 * stride));
    }

    /// <summary>Columns 0 and 4, 1 and 5, 2 and 6, 3 and 7 of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<float> A, Vector256<float> B, Vector256<float> C, Vector256<float> D) Quarters(float** rows, int column)
    {
        Vector256<float> a = Vector256.Load(rows[0] + column), b = Vector256.Load(rows[1] + column);
        Vector256<float> c = Vector256.Load(rows[2] + column), d = Vector256.Load(rows[3] + column);
        Vector256<double> lowAB = Avx.UnpackLow(a, b).AsDouble(), highAB = Avx.UnpackHigh(a, b).AsDouble();
        Vector256<double> lowCD = Avx.UnpackLow(c, d).AsDouble(), highCD = Avx.UnpackHigh(c, d).AsDouble();
        return (
            Avx.UnpackLow(lowAB, lowCD).AsSingle(),
            Avx.UnpackHigh(lowAB, lowCD).AsSingle(),
            Avx.UnpackLow(highAB, highCD).AsSingle(),
            Avx.UnpackHigh(highAB, highCD).AsSingle());
    }

    /// <summary>A BF16 in all lanes. The two bytes behind it are read too, and shifted out.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Spread(byte* key) => (Avx2.BroadcastScalarToVector256((uint*)key) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Spread<TKeys>(int index, byte* key)
        where TKeys : ITokenCount => index < TKeys.Count ? Spread(key) : default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TKeys>(
        Vector256<float> query, Vector256<float> a, Vector256<float> b, Vector256<float> c, ref Vector256<float> sumA, ref Vector256<float> sumB, ref Vector256<float> sumC)
        where TKeys : ITokenCount
    {
        sumA = Fma.MultiplyAdd(a, query, sumA);
        if (TKeys.Count > 1)
        {
            sumB = Fma.MultiplyAdd(b, query, sumB);
        }

        if (TKeys.Count > 2)
        {
            sumC = Fma.MultiplyAdd(c, query, sumC);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TKeys, TVectors>(int index, byte* key, Vector256<float> first, Vector256<float> second, ref Vector256<float> sum, ref Vector256<float> other)
        where TKeys : ITokenCount
        where TVectors : ITokenCount
    {
        if (index < TKeys.Count)
        {
            Vector256<float> value = Spread(key);
            sum = Fma.MultiplyAdd(value, first, sum);
            if (TVectors.Count > 1)
            {
                other = Fma.MultiplyAdd(value, second, other);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TContexts>(int index, float* weights, Vector256<float> even, Vector256<float> odd, ref Vector256<float> sum, ref Vector256<float> other)
        where TContexts : ITokenCount
    {
        if (index < TContexts.Count)
        {
            Vector256<float> weight = Avx.BroadcastScalarToVector256(weights + index);
            sum = Fma.MultiplyAdd(weight, even, sum);
            other = Fma.MultiplyAdd(weight, odd, other);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TCount>(int index, float* source, int stride, ref Vector256<float> first, ref Vector256<float> second)
        where TCount : ITokenCount => Load<TCount, TwoTokens>(index, source, stride, ref first, ref second);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load<TCount, TVectors>(int index, float* source, int stride, ref Vector256<float> first, ref Vector256<float> second)
        where TCount : ITokenCount
        where TVectors : ITokenCount
    {
        if (index < TCount.Count)
        {
            first = Vector256.Load(source + (index * stride));
            if (TVectors.Count > 1)
            {
                second = Vector256.Load(source + (index * stride) + Lanes);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TCount>(int index, float* target, int stride, Vector256<float> first, Vector256<float> second)
        where TCount : ITokenCount => Store<TCount, TwoTokens>(index, target, stride, first, second);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TCount, TVectors>(int index, float* target, int stride, Vector256<float> first, Vector256<float> second)
        where TCount : ITokenCount
        where TVectors : ITokenCount
    {
        if (index < TCount.Count)
        {
            first.Store(target + (index * stride));
            if (TVectors.Count > 1)
            {
                second.Store(target + (index * stride) + Lanes);
            }
        }
    }
}
