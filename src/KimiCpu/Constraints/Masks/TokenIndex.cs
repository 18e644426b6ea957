// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using KimiCpu.Constraints.Grammars;
using KimiCpu.Tokens;

namespace KimiCpu.Constraints.Masks;

/// <summary>The tokens of a tokenizer, control tokens excluded, arranged for making masks. Made once per tokenizer.</summary>
internal sealed class TokenIndex
{
    private static readonly ConditionalWeakTable<KimiTokenizer, Lazy<TokenIndex>> s_known = [];

    private TokenIndex(KimiTokenizer tokenizer)
    {
        int count = Enumerable.Range(0, tokenizer.VocabularySize).Count(t => !tokenizer.IsSpecial(t));
        WordCount = (tokenizer.VocabularySize + 63) / 64;
        (int Token, byte[] Bytes)[] tokens = Order(tokenizer, count);
        var singles = new bool[256];
        var lengths = new byte[count];
        foreach ((int token, byte[] bytes) in tokens)
        {
            lengths[token] = (byte)PlainLength(bytes);
            if (bytes.Length == 1)
            {
                singles[bytes[0]] = true;
            }
        }

        if (Array.IndexOf(singles, false) is >= 0 and int missing)
        {
            throw new KimiConstraintException($"No token of this tokenizer is the single byte 0x{missing:X2}, so a constraint could come to a dead end.");
        }

        All = new TokenTrie(tokens.Select(t => (t.Token, (ReadOnlyMemory<byte>)t.Bytes)));
        NotPlain = new TokenTrie(tokens.Where(t => lengths[t.Token] == 0).Select(t => (t.Token, (ReadOnlyMemory<byte>)t.Bytes)));
        PlainUpTo = MakePlainMasks(lengths);
    }

    /// <summary>Words of a mask.</summary>
    public int WordCount { get; }

    public TokenTrie All { get; }

    /// <summary>Tokens that are not a row of plain characters; see <see cref="PlainRuns"/>.</summary>
    public TokenTrie NotPlain { get; }

    /// <summary>[n]: the tokens of 1 … n plain characters; the last one holds all.</summary>
    public IReadOnlyList<ulong[]> PlainUpTo { get; }

    /// <summary>What the automata that read its tokens have found out.</summary>
    public AutomatonCaches Caches { get; } = new();

    /// <summary>Made by the first of those who ask at once; it takes a while.</summary>
    /// <param name="tokenizer">Whose tokens.</param>
    /// <param name="make">In place of the constructor, for tests; null for that.</param>
    /// <exception cref="KimiConstraintException">A single byte is no token.</exception>
    public static TokenIndex Of(KimiTokenizer tokenizer, Func<KimiTokenizer, TokenIndex>? make = null)
    {
        try
        {
            return s_known.GetValue(tokenizer, t => new Lazy<TokenIndex>(() => make is null ? new TokenIndex(t) : make(t))).Value;
        }
        catch (OutOfMemoryException)
        {
            // It would be thrown again for ever, and there may be memory the next time.
            s_known.Remove(tokenizer);
            throw;
        }
    }

    /// <summary>By bytes. The first eight as a number decide most comparisons.</summary>
    private static (int Token, byte[] Bytes)[] Order(KimiTokenizer tokenizer, int count)
    {
        var tokens = new (int Token, byte[] Bytes)[count];
        var keys = new (ulong Prefix, int Token)[count];
        Span<byte> prefix = stackalloc byte[8];
        for (int token = 0; token < count; token++)
        {
            byte[] bytes = tokenizer.GetBytes(token).ToArray();
            tokens[token] = (token, bytes);
            prefix.Clear();
            bytes.AsSpan(0, Math.Min(8, bytes.Length)).CopyTo(prefix);
            keys[token] = (BinaryPrimitives.ReadUInt64BigEndian(prefix), token);
        }

        Array.Sort(keys, (a, b) =>
        {
            int order = a.Prefix.CompareTo(b.Prefix);
            return order != 0 ? order : tokens[a.Token].Bytes.AsSpan().SequenceCompareTo(tokens[b.Token].Bytes);
        });
        return [.. keys.Select(k => tokens[k.Token])];
    }

    /// <summary>Characters of a token that is a row of fewer than 255 plain ones; else 0.</summary>
    private static int PlainLength(ReadOnlySpan<byte> bytes)
    {
        int length = 0;
        while (bytes.Length > 0)
        {
            bool plain = Rune.DecodeFromUtf8(bytes, out Rune rune, out int consumed) == OperationStatus.Done && rune.Value is >= 0x20 and not ('"' or '\\' or 0x2028 or 0x2029);
            if (!plain || ++length >= PlainRuns.Many)
            {
                return 0;
            }

            bytes = bytes[consumed..];
        }

        return length;
    }

    private ulong[][] MakePlainMasks(byte[] lengths)
    {
        var masks = new ulong[lengths.Max() + 1][];
        masks[0] = new ulong[WordCount];
        for (int n = 1; n < masks.Length; n++)
        {
            // A length that no token has shares the mask of the one before.
            bool occurs = lengths.AsSpan().Contains((byte)n);
            masks[n] = occurs ? [.. masks[n - 1]] : masks[n - 1];
            for (int token = 0; occurs && token < lengths.Length; token++)
            {
                masks[n][token >> 6] |= lengths[token] == n ? 1UL << (token & 63) : 0;
            }
        }

        return masks;
    }
}
