// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace KimiCpu.Constraints.Masks;

/// <summary>A set of tokens: bit t % 64 of word t / 64.</summary>
internal sealed class TokenMask(ulong[] words)
{
    public ReadOnlySpan<ulong> Words => words;

    public int Count { get; } = words.Sum(BitOperations.PopCount);

    public bool Contains(int token) => (uint)token < (uint)(words.Length * 64) && ((words[token >> 6] >> (token & 63)) & 1) != 0;

    /// <summary>Sets the logits of all other tokens, and of ids beyond, to negative infinity.</summary>
    public void Apply(Span<float> logits)
    {
        ref float first = ref MemoryMarshal.GetReference(logits);
        int whole = Math.Min(words.Length, logits.Length / 64);
        for (int i = 0; i < whole; i++)
        {
            ulong word = words[i];
            if (word == 0)
            {
                logits.Slice(i * 64, 64).Fill(float.NegativeInfinity);
            }
            else if (word != ulong.MaxValue)
            {
                ApplyWord(ref Unsafe.Add(ref first, i * 64), word);
            }
        }

        for (int token = whole * 64; token < logits.Length; token++)
        {
            logits[token] = Contains(token) ? logits[token] : float.NegativeInfinity;
        }
    }

    /// <summary>64 logits, eight a step: every lane looks at its own bit of the same byte.</summary>
    private static void ApplyWord(ref float logits, ulong word)
    {
        Vector256<int> bits = Vector256.Create(1, 2, 4, 8, 16, 32, 64, 128);
        for (nuint at = 0; at < 64; at += 8, word >>= 8)
        {
            Vector256<float> allowed = Vector256.Equals(Vector256.Create((int)(byte)word) & bits, bits).AsSingle();
            Vector256.ConditionalSelect(allowed, Vector256.LoadUnsafe(ref logits, at), Vector256.Create(float.NegativeInfinity)).StoreUnsafe(ref logits, at);
        }
    }
}
