// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// A tile product with 256-bit vectors. The sums of a group, for the 16 rows of a half and up to five tokens, stay in
/// registers, so that each vector of weights meets all tokens and each activation both vectors of rows once it is loaded;
/// then they are scaled and added to the sums of the lane in the first-level cache.
/// </summary>
internal sealed unsafe class Vector256TileKernel<TProducts>(TileKernelKind kind) : TileKernel(kind)
    where TProducts : IProducts256
{
    /// <summary>Vectors of a half of a group, four columns each.</summary>
    private const int QuadsOfGroup = 8;

    /// <summary>Cache lines that products of several tokens ask for with each group: a whole block while four are multiplied.</summary>
    private const int LinesOfGroup = 8;

    private const int MostTokens = 5;

    /// <summary>Rows of a vector.</summary>
    private const int VectorRows = 8;

    /// <summary>Bytes ahead of use that a single token's weights, which come from memory, are asked for.</summary>
    private const int PrefetchDistance = 4096;

    public override int MaxTokens => MostTokens;

    public override int PrefetchedLines => LinesOfGroup;

    public override int MostStoredTokens => Int4Gemv.MostTokens;

    public override void MultiplyStored(in WeightMatrix weight, int rowBegin, int rowEnd, ReadOnlySpan<QuantizedRow> x, float* y, long yStride) =>
        Int4Gemv.MultiplyTokens(InstructionSet.Avx2, weight, rowBegin, rowEnd, x, y, yStride);

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* lanes, byte* prefetch)
    {
        bool split = bits8 && TProducts.SplitsActivations;
        switch (tokens, split)
        {
            case (1, false):
                Bytes<OneToken>(weights, activations, blocks, lanes, prefetch);
                break;
            case (2, false):
                Bytes<TwoTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (3, false):
                Bytes<ThreeTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (4, false):
                Bytes<FourTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (_, false):
                Bytes<FiveTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (1, true):
                PartsTogether<OneToken, TwoTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (2, true):
                PartsTogether<TwoTokens, FourTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (3, true):
                PartsApart<ThreeTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            case (4, true):
                PartsApart<FourTokens>(weights, activations, blocks, lanes, prefetch);
                break;
            default:
                PartsApart<FiveTokens>(weights, activations, blocks, lanes, prefetch);
                break;
        }
    }

    /// <summary>Free of calls, or the compiler keeps the sums in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Bytes<TTokens>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch)
        where TTokens : ITokenCount
    {
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Prefetch<TTokens>(weights, ref prefetch);
                for (int half = 0; half < 2; half++)
                {
                    Group<TTokens>(
                        weights + (half * WeightTile.HalfBytes),
                        activations,
                        out Vector256<int> a0,
                        out Vector256<int> b0,
                        out Vector256<int> a1,
                        out Vector256<int> b1,
                        out Vector256<int> a2,
                        out Vector256<int> b2,
                        out Vector256<int> a3,
                        out Vector256<int> b3,
                        out Vector256<int> a4,
                        out Vector256<int> b4);
                    ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + (half * WeightTile.HalfRows);
                    float* sums = lanes + (half * WeightTile.HalfRows);
                    Vector256<float> first = Scales(scales), second = Scales(scales + VectorRows);
                    Token<TTokens>(0, TProducts.Finish(a0), TProducts.Finish(b0), first, second, activations, sums);
                    Token<TTokens>(1, TProducts.Finish(a1), TProducts.Finish(b1), first, second, activations, sums);
                    Token<TTokens>(2, TProducts.Finish(a2), TProducts.Finish(b2), first, second, activations, sums);
                    Token<TTokens>(3, TProducts.Finish(a3), TProducts.Finish(b3), first, second, activations, sums);
                    Token<TTokens>(4, TProducts.Finish(a4), TProducts.Finish(b4), first, second, activations, sums);
                }

                weights += WeightTile.RecordBytes;
                activations += TileRecord.TokenBytes * TTokens.Count;
            }
        }
    }

    /// <summary>As <see cref="Bytes"/>, each activation in its two parts, as if it were two tokens.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PartsTogether<TTokens, TParts>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch)
        where TTokens : ITokenCount
        where TParts : ITokenCount
    {
        byte* parts = stackalloc byte[4 * Vector256<byte>.Count];
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Prefetch<TTokens>(weights, ref prefetch);
                ActivationParts.Interleave<TTokens>(activations, parts);
                for (int half = 0; half < 2; half++)
                {
                    Group<TParts>(
                        weights + (half * WeightTile.HalfBytes),
                        parts,
                        out Vector256<int> a0,
                        out Vector256<int> b0,
                        out Vector256<int> a1,
                        out Vector256<int> b1,
                        out Vector256<int> a2,
                        out Vector256<int> b2,
                        out Vector256<int> a3,
                        out Vector256<int> b3,
                        out Vector256<int> a4,
                        out Vector256<int> b4);
                    ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + (half * WeightTile.HalfRows);
                    float* sums = lanes + (half * WeightTile.HalfRows);
                    Vector256<float> first = Scales(scales), second = Scales(scales + VectorRows);
                    if (TTokens.Count == 1)
                    {
                        Token<TTokens>(0, Both(a0, a1), Both(b0, b1), first, second, activations, sums);
                    }
                    else
                    {
                        Token<TTokens>(0, Both(a0, a2), Both(b0, b2), first, second, activations, sums);
                        Token<TTokens>(1, Both(a1, a3), Both(b1, b3), first, second, activations, sums);
                    }
                }

                weights += WeightTile.RecordBytes;
                activations += TileRecord.TokenBytes * TTokens.Count;
            }
        }
    }

    /// <summary>As <see cref="Bytes"/>, the activations' low parts first, whose sums wait in memory for those of the high ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PartsApart<TTokens>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch)
        where TTokens : ITokenCount
    {
        byte* lowParts = stackalloc byte[2 * MostTokens * Vector256<byte>.Count];
        byte* highParts = lowParts + (MostTokens * Vector256<byte>.Count);
        int* low = stackalloc int[2 * MostTokens * VectorRows];
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Prefetch<TTokens>(weights, ref prefetch);
                ActivationParts.Split<TTokens>(activations, lowParts, highParts);
                for (int half = 0; half < 2; half++)
                {
                    byte* w = weights + (half * WeightTile.HalfBytes);
                    Group<TTokens>(
                        w,
                        lowParts,
                        out Vector256<int> a0,
                        out Vector256<int> b0,
                        out Vector256<int> a1,
                        out Vector256<int> b1,
                        out Vector256<int> a2,
                        out Vector256<int> b2,
                        out Vector256<int> a3,
                        out Vector256<int> b3,
                        out Vector256<int> a4,
                        out Vector256<int> b4);
                    Keep<TTokens>(0, a0, b0, low);
                    Keep<TTokens>(1, a1, b1, low);
                    Keep<TTokens>(2, a2, b2, low);
                    Keep<TTokens>(3, a3, b3, low);
                    Keep<TTokens>(4, a4, b4, low);
                    Group<TTokens>(w, highParts, out a0, out b0, out a1, out b1, out a2, out b2, out a3, out b3, out a4, out b4);
                    ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + (half * WeightTile.HalfRows);
                    float* sums = lanes + (half * WeightTile.HalfRows);
                    Vector256<float> first = Scales(scales), second = Scales(scales + VectorRows);
                    Token<TTokens>(0, Both(low, 0, a0), Both(low, 1, b0), first, second, activations, sums);
                    Token<TTokens>(1, Both(low, 2, a1), Both(low, 3, b1), first, second, activations, sums);
                    Token<TTokens>(2, Both(low, 4, a2), Both(low, 5, b2), first, second, activations, sums);
                    Token<TTokens>(3, Both(low, 6, a3), Both(low, 7, b3), first, second, activations, sums);
                    Token<TTokens>(4, Both(low, 8, a4), Both(low, 9, b4), first, second, activations, sums);
                }

                weights += WeightTile.RecordBytes;
                activations += TileRecord.TokenBytes * TTokens.Count;
            }
        }
    }

    /// <summary>Sums of products of the group, two vectors of rows a token; zeros for tokens that there are not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Group<TTokens>(
        byte* weights,
        byte* x,
        out Vector256<int> a0,
        out Vector256<int> b0,
        out Vector256<int> a1,
        out Vector256<int> b1,
        out Vector256<int> a2,
        out Vector256<int> b2,
        out Vector256<int> a3,
        out Vector256<int> b3,
        out Vector256<int> a4,
        out Vector256<int> b4)
        where TTokens : ITokenCount
    {
        Vector256<byte> first = Vector256.Load(weights);
        Vector256<byte> second = Vector256.Load(weights + Vector256<byte>.Count);
        Start<TTokens>(0, first, second, x, out a0, out b0);
        Start<TTokens>(1, first, second, x, out a1, out b1);
        Start<TTokens>(2, first, second, x, out a2, out b2);
        Start<TTokens>(3, first, second, x, out a3, out b3);
        Start<TTokens>(4, first, second, x, out a4, out b4);
        Quad<TTokens>(1, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(2, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(3, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(4, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(5, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(6, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
        Quad<TTokens>(7, weights, x, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, ref a4, ref b4);
    }

    /// <summary>Four columns; written out for each of a group, since a loop would be a seventh of the instructions.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quad<TTokens>(
        int quad,
        byte* weights,
        byte* x,
        ref Vector256<int> a0,
        ref Vector256<int> b0,
        ref Vector256<int> a1,
        ref Vector256<int> b1,
        ref Vector256<int> a2,
        ref Vector256<int> b2,
        ref Vector256<int> a3,
        ref Vector256<int> b3,
        ref Vector256<int> a4,
        ref Vector256<int> b4)
        where TTokens : ITokenCount
    {
        weights += quad * WeightTile.VectorBytes;
        x += 4 * quad * TTokens.Count;
        Vector256<byte> first = Vector256.Load(weights);
        Vector256<byte> second = Vector256.Load(weights + Vector256<byte>.Count);
        Add<TTokens>(0, first, second, x, ref a0, ref b0);
        Add<TTokens>(1, first, second, x, ref a1, ref b1);
        Add<TTokens>(2, first, second, x, ref a2, ref b2);
        Add<TTokens>(3, first, second, x, ref a3, ref b3);
        Add<TTokens>(4, first, second, x, ref a4, ref b4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Start<TTokens>(int token, Vector256<byte> first, Vector256<byte> second, byte* x, out Vector256<int> a, out Vector256<int> b)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            a = b = default;
            return;
        }

        Vector256<sbyte> value = Avx2.BroadcastScalarToVector256((int*)x + token).AsSByte();
        a = TProducts.Multiply(first, value);
        b = TProducts.Multiply(second, value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, Vector256<byte> first, Vector256<byte> second, byte* x, ref Vector256<int> a, ref Vector256<int> b)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            Vector256<sbyte> value = Avx2.BroadcastScalarToVector256((int*)x + token).AsSByte();
            a = TProducts.Add(a, first, value);
            b = TProducts.Add(b, second, value);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Keep<TTokens>(int token, Vector256<int> a, Vector256<int> b, int* low)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            TProducts.Finish(a).Store(low + (2 * token * VectorRows));
            TProducts.Finish(b).Store(low + (((2 * token) + 1) * VectorRows));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Both(Vector256<int> low, Vector256<int> high) => TProducts.Finish(low) + (TProducts.Finish(high) << ActivationParts.HighShift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Both(int* low, int index, Vector256<int> high) =>
        Vector256.Load(low + (index * VectorRows)) + (TProducts.Finish(high) << ActivationParts.HighShift);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Scales(ushort* scales) => (Avx2.ConvertToVector256Int32(scales) << 16).AsSingle();

    /// <summary>A lane at a time, whose sums are in the first-level cache then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Clear<TTokens>(float* sums)
        where TTokens : ITokenCount
    {
        for (int i = 0; i < TTokens.Count * WeightTile.Rows; i += VectorRows)
        {
            Vector256<float>.Zero.Store(sums + i);
        }
    }

    /// <summary>Adds a token's group to its sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Token<TTokens>(int token, Vector256<int> a, Vector256<int> b, Vector256<float> first, Vector256<float> second, byte* x, float* sums)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            return;
        }

        sums += token * WeightTile.Rows;
        Vector256<float> scale = Avx.BroadcastScalarToVector256((float*)x + (QuadsOfGroup * TTokens.Count) + token);
        Vector256<int> correction = Avx2.BroadcastScalarToVector256((int*)x + ((QuadsOfGroup + 1) * TTokens.Count) + token);
        (Vector256.Load(sums) + (Vector256.ConvertToSingle(a + correction) * (first * scale))).Store(sums);
        (Vector256.Load(sums + VectorRows) + (Vector256.ConvertToSingle(b + correction) * (second * scale))).Store(sums + VectorRows);
    }

    /// <summary>A single token's weights come from memory; several tokens leave time to ask for what comes next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch<TTokens>(byte* weights, ref byte* prefetch)
        where TTokens : ITokenCount
    {
        if (TTokens.Count == 1)
        {
            byte* next = weights + PrefetchDistance;
            Sse.Prefetch1(next);
            Sse.Prefetch1(next + 64);
            Sse.Prefetch1(next + 128);
            Sse.Prefetch1(next + 192);
            Sse.Prefetch1(next + 256);
            Sse.Prefetch1(next + 320);
            Sse.Prefetch1(next + 384);
            Sse.Prefetch1(next + 448);
            Sse.Prefetch1(next + 512);
            Sse.Prefetch1(next + 576);
            Sse.Prefetch1(next + 640);
            Sse.Prefetch1(next + 704);
            Sse.Prefetch1(next + 768);
            Sse.Prefetch1(next + 832);
            Sse.Prefetch1(next + 896);
            Sse.Prefetch1(next + 960);
            Sse.Prefetch1(next + 1024);
            return;
        }

        // Asking again for what is there already would take a twentieth of the time.
        if (prefetch is null)
        {
            return;
        }

        Sse.Prefetch1(prefetch);
        Sse.Prefetch1(prefetch + 64);
        Sse.Prefetch1(prefetch + (64 * 2));
        Sse.Prefetch1(prefetch + (64 * 3));
        Sse.Prefetch1(prefetch + (64 * 4));
        Sse.Prefetch1(prefetch + (64 * 5));
        Sse.Prefetch1(prefetch + (64 * 6));
        Sse.Prefetch1(prefetch + (64 * 7));
        prefetch += 64 * LinesOfGroup;
    }
}
