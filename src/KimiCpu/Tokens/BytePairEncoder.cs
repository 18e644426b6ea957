// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;

namespace KimiCpu.Tokens;

/// <summary>
/// Byte-pair encoding of one piece: a piece that is a token as a whole is that token; otherwise the adjacent pair of
/// lowest rank, leftmost first, is merged until no pair is a token.
/// </summary>
internal static class BytePairEncoder
{
    /// <summary>Up to here looking at all pairs each time is faster than keeping a heap; both give the same tokens.</summary>
    private const int ShortPiece = 64;

    private const int NoPair = int.MaxValue;

    public static void Encode(Vocabulary vocabulary, ReadOnlySpan<byte> piece, List<int> tokens)
    {
        if (vocabulary.TryGetRank(piece, out int whole))
        {
            tokens.Add(whole);
        }
        else if (piece.Length <= ShortPiece)
        {
            EncodeShort(vocabulary, piece, tokens);
        }
        else
        {
            EncodeLong(vocabulary, piece, tokens);
        }
    }

    /// <summary>Parts as an array that closes its gaps; the pair beginning at each part has its rank beside it.</summary>
    private static void EncodeShort(Vocabulary vocabulary, ReadOnlySpan<byte> piece, List<int> tokens)
    {
        Span<int> starts = stackalloc int[ShortPiece + 1];
        Span<int> ranks = stackalloc int[ShortPiece + 1];
        int parts = piece.Length;
        for (int i = 0; i <= parts; i++)
        {
            starts[i] = i;
        }

        for (int i = 0; i < parts; i++)
        {
            ranks[i] = PairRank(vocabulary, piece, starts, parts, i);
        }

        while (parts > 1)
        {
            int best = 0;
            for (int i = 1; i < parts - 1; i++)
            {
                if (ranks[i] < ranks[best])
                {
                    best = i;
                }
            }

            if (ranks[best] == NoPair)
            {
                break;
            }

            starts[(best + 2)..(parts + 1)].CopyTo(starts[(best + 1)..]);
            ranks[(best + 2)..parts].CopyTo(ranks[(best + 1)..]);
            parts--;
            ranks[best] = PairRank(vocabulary, piece, starts, parts, best);
            if (best > 0)
            {
                ranks[best - 1] = PairRank(vocabulary, piece, starts, parts, best - 1);
            }
        }

        for (int i = 0; i < parts; i++)
        {
            vocabulary.TryGetRank(piece[starts[i]..starts[i + 1]], out int rank);
            tokens.Add(rank);
        }
    }

    private static int PairRank(Vocabulary vocabulary, ReadOnlySpan<byte> piece, ReadOnlySpan<int> starts, int parts, int i) =>
        i + 1 < parts && vocabulary.TryGetRank(piece[starts[i]..starts[i + 2]], out int rank) ? rank : NoPair;

    /// <summary>Parts as a linked list, pairs in a heap by rank and place; an entry whose pair has changed is passed over.</summary>
    private static void EncodeLong(Vocabulary vocabulary, ReadOnlySpan<byte> piece, List<int> tokens)
    {
        int length = piece.Length;
        int[] rented = ArrayPool<int>.Shared.Rent(3 * (length + 1));
        Span<int> next = rented.AsSpan(0, length + 1);
        Span<int> previous = rented.AsSpan(length + 1, length + 1);
        Span<int> pairRank = rented.AsSpan(2 * (length + 1), length + 1);
        var heap = new PriorityQueue<int, long>(length);
        for (int i = 0; i <= length; i++)
        {
            next[i] = i + 1;
            previous[i] = i - 1;
        }

        for (int i = 0; i < length; i++)
        {
            pairRank[i] = Rank(vocabulary, piece, next, i, heap);
        }

        while (heap.TryDequeue(out int start, out long priority))
        {
            if (pairRank[start] != (int)(priority >> 32))
            {
                continue;
            }

            int merged = next[start];
            int behind = next[merged];
            next[start] = behind;
            pairRank[merged] = NoPair;
            if (behind < length)
            {
                previous[behind] = start;
            }

            pairRank[start] = Rank(vocabulary, piece, next, start, heap);
            if (previous[start] >= 0)
            {
                pairRank[previous[start]] = Rank(vocabulary, piece, next, previous[start], heap);
            }
        }

        for (int i = 0; i < length; i = next[i])
        {
            vocabulary.TryGetRank(piece[i..next[i]], out int rank);
            tokens.Add(rank);
        }

        ArrayPool<int>.Shared.Return(rented);
    }

    /// <summary>Rank of the pair that begins at a part, which also goes to the heap; <see cref="NoPair"/> if it is no token.</summary>
    private static int Rank(Vocabulary vocabulary, ReadOnlySpan<byte> piece, ReadOnlySpan<int> next, int start, PriorityQueue<int, long> heap)
    {
        int middle = next[start];
        if (middle >= piece.Length || !vocabulary.TryGetRank(piece[start..next[middle]], out int rank))
        {
            return NoPair;
        }

        heap.Enqueue(start, ((long)rank << 32) | (uint)start);
        return rank;
    }
}
