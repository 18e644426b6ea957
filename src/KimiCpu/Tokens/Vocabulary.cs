// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Buffers.Text;
using KimiCpu.Checkpoints;

namespace KimiCpu.Tokens;

/// <summary>
/// The byte sequences of <c>tiktoken.model</c> by rank and back: one block of bytes, offsets, and an open-addressed hash
/// table, rather than 160,000 arrays.
/// </summary>
internal sealed class Vocabulary
{
    private const int MaxTokenBytes = 1 << 16;
    private const int MaxTokens = 1 << 22;

    private readonly byte[] _bytes;
    private readonly int[] _offsets;

    /// <summary>Rank + 1 by hash; 0 is free. A power of two, at most half full.</summary>
    private readonly int[] _slots;

    private Vocabulary(byte[] bytes, int[] offsets, string source)
    {
        _bytes = bytes;
        _offsets = offsets;
        _slots = new int[System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(2, Count * 2))];
        for (int rank = 0; rank < Count; rank++)
        {
            if (!TryInsert(rank))
            {
                throw new CheckpointException(source, null, $"The token of rank {rank} stands there twice.");
            }
        }

        if (Count == 0)
        {
            throw new CheckpointException(source, null, "There is no token in the file.");
        }

        for (int value = 0; value < 256; value++)
        {
            if (!TryGetRank([(byte)value], out _))
            {
                throw new CheckpointException(source, null, $"No token is the single byte 0x{value:X2}, so not every text could be encoded.");
            }
        }
    }

    /// <summary>Tokens, without the special ones.</summary>
    public int Count => _offsets.Length - 1;

    public ReadOnlySpan<byte> this[int rank] => _bytes.AsSpan(_offsets[rank].._offsets[rank + 1]);

    /// <summary>Reads lines of <c>base64 rank</c>; the ranks must be 0 … count - 1 in any order.</summary>
    public static Vocabulary Parse(ReadOnlySpan<byte> file, string source)
    {
        var tokens = new List<(int Rank, int Start, int Length)>();
        var bytes = new ArrayBufferWriter<byte>(Math.Max(1, file.Length / 2));
        int line = 0;
        foreach (Range range in file.Split((byte)'\n'))
        {
            line++;
            ReadOnlySpan<byte> text = file[range].Trim(" \r\t"u8);
            if (text.Length == 0)
            {
                continue;
            }

            int blank = text.IndexOf((byte)' ');
            bool valid = Utf8Parser.TryParse(text[(blank + 1)..], out int rank, out int used) && used == text.Length - blank - 1 && rank >= 0;
            if (!valid || blank is < 1 or > MaxTokenBytes || tokens.Count >= MaxTokens)
            {
                throw new CheckpointException(source, null, $"Line {line}: expected a token in base64, a blank and its rank.");
            }

            Span<byte> target = bytes.GetSpan(Base64.GetMaxDecodedFromUtf8Length(blank));
            if (Base64.DecodeFromUtf8(text[..blank], target, out _, out int written) != OperationStatus.Done || written == 0)
            {
                throw new CheckpointException(source, null, $"Line {line}: the token is not valid base64.");
            }

            tokens.Add((rank, bytes.WrittenCount, written));
            bytes.Advance(written);
        }

        return new Vocabulary(Order(tokens, bytes.WrittenSpan, source, out int[] offsets), offsets, source);
    }

    public bool TryGetRank(ReadOnlySpan<byte> token, out int rank)
    {
        for (uint slot = Hash(token); ; slot++)
        {
            int stored = _slots[slot & (uint)(_slots.Length - 1)];
            if (stored == 0)
            {
                rank = -1;
                return false;
            }

            if (this[stored - 1].SequenceEqual(token))
            {
                rank = stored - 1;
                return true;
            }
        }
    }

    private static byte[] Order(List<(int Rank, int Start, int Length)> tokens, ReadOnlySpan<byte> bytes, string source, out int[] offsets)
    {
        tokens.Sort();
        offsets = new int[tokens.Count + 1];
        var ordered = new byte[bytes.Length];
        for (int i = 0; i < tokens.Count; i++)
        {
            (int rank, int start, int length) = tokens[i];
            if (rank != i)
            {
                throw new CheckpointException(source, null, $"Expected the ranks 0 to {tokens.Count - 1}, each once; {(rank < i ? $"{rank} stands there twice" : $"{i} is missing")}.");
            }

            bytes.Slice(start, length).CopyTo(ordered.AsSpan(offsets[i]));
            offsets[i + 1] = offsets[i] + length;
        }

        return ordered;
    }

    private bool TryInsert(int rank)
    {
        ReadOnlySpan<byte> token = this[rank];
        for (uint slot = Hash(token); ; slot++)
        {
            ref int stored = ref _slots[slot & (uint)(_slots.Length - 1)];
            if (stored == 0)
            {
                stored = rank + 1;
                return true;
            }

            if (this[stored - 1].SequenceEqual(token))
            {
                return false;
            }
        }
    }

    /// <summary>FNV-1a with a final mix; tokens are short.</summary>
    private static uint Hash(ReadOnlySpan<byte> token)
    {
        uint hash = 2166136261;
        foreach (byte value in token)
        {
            hash = (hash ^ value) * 16777619;
        }

        return hash ^ (hash >> 15);
    }
}
