// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu.Tiles;

/// <summary>
/// A tile product with vectors of 256 or 512 bits. The sums of a group, for two vectors of rows (a half, or both halves) and up
/// to five tokens, stay in registers, so that each vector of weights meets all tokens and each activation both vectors of rows
/// once it is loaded; then they are scaled and added to the sums of the lane in the first-level cache.
/// </summary>
internal sealed unsafe partial class WideTileKernel<TVector, TProducts>(TileKernelKind kind) : TileKernel(kind)
    where TVector : unmanaged
    where TProducts : ITileProducts<TVector>
{
    /// <summary>Steps of four columns of a group.</summary>
    private const int QuadsOfGroup = 8;

    private const int MostTokens = 5;

    /// <summary>Bytes ahead of use that a single token's weights, which come from memory, are asked for.</summary>
    private const int PrefetchDistance = 4096;

    /// <summary>Rows that are multiplied together.</summary>
    private static int PairRows => 2 * TProducts.Rows;

    public override int MaxTokens => MostTokens;

    public override bool AsksAhead => true;

    public override void Multiply(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* scratch, in TileAhead ahead, float* y, long yStride)
    {
        Lanes(weights, bits8, activations, tokens, blocks, scratch, ahead.Next, ahead.Lines);
        TileFold.Fold(scratch, tokens, y, yStride);
    }

    private static void Lanes(byte* weights, bool bits8, byte* activations, int tokens, int blocks, float* lanes, byte* prefetch, int lines)
    {
        bool split = bits8 && TProducts.SplitsActivations;
        switch (tokens, split)
        {
            case (1, false):
                Bytes<OneToken>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (2, false):
                Bytes<TwoTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (3, false):
                Bytes<ThreeTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (4, false):
                Bytes<FourTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (_, false):
                Bytes<FiveTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (1, true):
                PartsTogether<OneToken, TwoTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (2, true):
                PartsTogether<TwoTokens, FourTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (3, true):
                PartsApart<ThreeTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            case (4, true):
                PartsApart<FourTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
            default:
                PartsApart<FiveTokens>(weights, activations, blocks, lanes, prefetch, lines);
                break;
        }
    }

    /// <summary>Free of calls, or the compiler keeps the sums in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Bytes<TTokens>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch, int lines)
        where TTokens : ITokenCount
    {
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Ask<TTokens>(weights, ref prefetch, lines);
                Record<TTokens>(weights, activations, lanes);
                weights += WeightTile.RecordBytes;
                activations += TileRecord.TokenBytes * TTokens.Count;
            }
        }
    }

    /// <summary>Adds the products of all rows of a group to the sums of its lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Record<TTokens>(byte* weights, byte* activations, float* lanes)
        where TTokens : ITokenCount
    {
        for (int row = 0; row < WeightTile.Rows; row += PairRows)
        {
            Group<TTokens>(
                weights + (row / WeightTile.HalfRows * WeightTile.HalfBytes),
                activations,
                out TVector a0,
                out TVector b0,
                out TVector a1,
                out TVector b1,
                out TVector a2,
                out TVector b2,
                out TVector a3,
                out TVector b3,
                out TVector a4,
                out TVector b4);
            ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + row;
            float* sums = lanes + row;
            TVector first = TProducts.Scales(scales), second = TProducts.Scales(scales + TProducts.Rows);
            Token<TTokens>(0, TProducts.Finish(a0), TProducts.Finish(b0), first, second, activations, sums);
            Token<TTokens>(1, TProducts.Finish(a1), TProducts.Finish(b1), first, second, activations, sums);
            Token<TTokens>(2, TProducts.Finish(a2), TProducts.Finish(b2), first, second, activations, sums);
            Token<TTokens>(3, TProducts.Finish(a3), TProducts.Finish(b3), first, second, activations, sums);
            Token<TTokens>(4, TProducts.Finish(a4), TProducts.Finish(b4), first, second, activations, sums);
        }
    }

    /// <summary>As <see cref="Bytes"/>, each activation in its two parts, as if it were two tokens.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PartsTogether<TTokens, TParts>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch, int lines)
        where TTokens : ITokenCount
        where TParts : ITokenCount
    {
        byte* parts = stackalloc byte[4 * Vector256<byte>.Count];
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Ask<TTokens>(weights, ref prefetch, lines);
                ActivationParts.Interleave<TTokens>(activations, parts);
                for (int row = 0; row < WeightTile.Rows; row += PairRows)
                {
                    Group<TParts>(
                        weights + (row / WeightTile.HalfRows * WeightTile.HalfBytes),
                        parts,
                        out TVector a0,
                        out TVector b0,
                        out TVector a1,
                        out TVector b1,
                        out TVector a2,
                        out TVector b2,
                        out TVector a3,
                        out TVector b3,
                        out TVector a4,
                        out TVector b4);
                    ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + row;
                    float* sums = lanes + row;
                    TVector first = TProducts.Scales(scales), second = TProducts.Scales(scales + TProducts.Rows);
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
    private static void PartsApart<TTokens>(byte* weights, byte* activations, int blocks, float* lanes, byte* prefetch, int lines)
        where TTokens : ITokenCount
    {
        byte* lowParts = stackalloc byte[2 * MostTokens * Vector256<byte>.Count];
        byte* highParts = lowParts + (MostTokens * Vector256<byte>.Count);
        int* low = stackalloc int[2 * MostTokens * TProducts.Rows];
        for (int lane = 0; lane < LaneSum.Lanes; lane++, lanes += TTokens.Count * WeightTile.Rows)
        {
            Clear<TTokens>(lanes);
            for (int b = 0; b < blocks; b++)
            {
                Ask<TTokens>(weights, ref prefetch, lines);
                ActivationParts.Split<TTokens>(activations, lowParts, highParts);
                for (int row = 0; row < WeightTile.Rows; row += PairRows)
                {
                    byte* w = weights + (row / WeightTile.HalfRows * WeightTile.HalfBytes);
                    Group<TTokens>(
                        w,
                        lowParts,
                        out TVector a0,
                        out TVector b0,
                        out TVector a1,
                        out TVector b1,
                        out TVector a2,
                        out TVector b2,
                        out TVector a3,
                        out TVector b3,
                        out TVector a4,
                        out TVector b4);
                    Keep<TTokens>(0, a0, b0, low);
                    Keep<TTokens>(1, a1, b1, low);
                    Keep<TTokens>(2, a2, b2, low);
                    Keep<TTokens>(3, a3, b3, low);
                    Keep<TTokens>(4, a4, b4, low);
                    Group<TTokens>(w, highParts, out a0, out b0, out a1, out b1, out a2, out b2, out a3, out b3, out a4, out b4);
                    ushort* scales = (ushort*)(weights + WeightTile.ScalesAt) + row;
                    float* sums = lanes + row;
                    TVector first = TProducts.Scales(scales), second = TProducts.Scales(scales + TProducts.Rows);
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
        out TVector a0,
        out TVector b0,
        out TVector a1,
        out TVector b1,
        out TVector a2,
        out TVector b2,
        out TVector a3,
        out TVector b3,
        out TVector a4,
        out TVector b4)
        where TTokens : ITokenCount
    {
        TVector first = Unsafe.ReadUnaligned<TVector>(weights);
        TVector second = Unsafe.ReadUnaligned<TVector>(weights + TProducts.SecondAt);
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
        ref TVector a0,
        ref TVector b0,
        ref TVector a1,
        ref TVector b1,
        ref TVector a2,
        ref TVector b2,
        ref TVector a3,
        ref TVector b3,
        ref TVector a4,
        ref TVector b4)
        where TTokens : ITokenCount
    {
        weights += quad * WeightTile.VectorBytes;
        x += 4 * quad * TTokens.Count;
        TVector first = Unsafe.ReadUnaligned<TVector>(weights);
        TVector second = Unsafe.ReadUnaligned<TVector>(weights + TProducts.SecondAt);
        Add<TTokens>(0, first, second, x, ref a0, ref b0);
        Add<TTokens>(1, first, second, x, ref a1, ref b1);
        Add<TTokens>(2, first, second, x, ref a2, ref b2);
        Add<TTokens>(3, first, second, x, ref a3, ref b3);
        Add<TTokens>(4, first, second, x, ref a4, ref b4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Start<TTokens>(int token, TVector first, TVector second, byte* x, out TVector a, out TVector b)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            a = b = default;
            return;
        }

        TProducts.Multiply(first, second, (int*)x + token, out a, out b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<TTokens>(int token, TVector first, TVector second, byte* x, ref TVector a, ref TVector b)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            TProducts.Add(first, second, (int*)x + token, ref a, ref b);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Keep<TTokens>(int token, TVector a, TVector b, int* low)
        where TTokens : ITokenCount
    {
        if (token < TTokens.Count)
        {
            Unsafe.WriteUnaligned(low + (2 * token * TProducts.Rows), TProducts.Finish(a));
            Unsafe.WriteUnaligned(low + (((2 * token) + 1) * TProducts.Rows), TProducts.Finish(b));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Both(TVector low, TVector high) => TProducts.Both(TProducts.Finish(low), TProducts.Finish(high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Both(int* low, int index, TVector high) => TProducts.Both(Unsafe.ReadUnaligned<TVector>(low + (index * TProducts.Rows)), TProducts.Finish(high));

    /// <summary>A lane at a time, whose sums are in the first-level cache then.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Clear<TTokens>(float* sums)
        where TTokens : ITokenCount
    {
        for (int i = 0; i < TTokens.Count * WeightTile.Rows; i += Vector256<float>.Count)
        {
            Vector256<float>.Zero.Store(sums + i);
        }
    }

    /// <summary>Adds a token's group to its sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Token<TTokens>(int token, TVector a, TVector b, TVector first, TVector second, byte* x, float* sums)
        where TTokens : ITokenCount
    {
        if (token >= TTokens.Count)
        {
            return;
        }

        sums += token * WeightTile.Rows;
        float* scale = (float*)x + (QuadsOfGroup * TTokens.Count) + token;
        int* correction = (int*)x + ((QuadsOfGroup + 1) * TTokens.Count) + token;
        TProducts.Accumulate(a, first, correction, scale, sums);
        TProducts.Accumulate(b, second, correction, scale, sums + TProducts.Rows);
    }

    /// <summary>A single token's weights come from memory; several tokens leave time to ask for what comes next.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Ask<TTokens>(byte* weights, ref byte* prefetch, int lines)
        where TTokens : ITokenCount
    {
        if (TTokens.Count == 1)
        {
            if (CpuFeatures.PrefetchStyle == PrefetchStyle.EveryPage)
            {
                Prefetch.NextPage(weights + Prefetch.PagesAhead, WeightTile.RecordBytes);
                return;
            }

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
            if (CpuFeatures.PrefetchStyle == PrefetchStyle.EveryLineTwice)
            {
                for (int line = 0; line < WeightTile.RecordBytes; line += TileAhead.LineBytes)
                {
                    Sse.Prefetch0(weights + WeightTile.RecordBytes + line);
                }
            }

            return;
        }

        // Asking again for what is there already would take a twentieth of the time.
        if (prefetch is null)
        {
            return;
        }

        Sse.Prefetch1(prefetch);
        Sse.Prefetch1(prefetch + 64);
        if (lines > TileAhead.FewLines)
        {
            Sse.Prefetch1(prefetch + (64 * 2));
            Sse.Prefetch1(prefetch + (64 * 3));
            Sse.Prefetch1(prefetch + (64 * 4));
            Sse.Prefetch1(prefetch + (64 * 5));
            Sse.Prefetch1(prefetch + (64 * 6));
            Sse.Prefetch1(prefetch + (64 * 7));
        }

        prefetch += TileAhead.LineBytes * lines;
    }
}
