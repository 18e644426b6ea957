// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Model;

namespace KimiCpu.Cli;

/// <summary>Room in a cache that no call shares: where there is none, nobody gives any back, and a forward pass would read behind the end of the sequence's pages.</summary>
internal static class SequenceRoom
{
    /// <summary>Makes room for more tokens.</summary>
    /// <param name="sequence">Of a cache whose budget is all of the memory.</param>
    /// <param name="tokens">At least 0.</param>
    /// <exception cref="ContextLengthException">The sequence would be longer than the context.</exception>
    /// <exception cref="KimiException">The system has no memory for so many.</exception>
    public static void Extend(this KvSequence sequence, int tokens)
    {
        if (!sequence.TryExtend(tokens))
        {
            throw new KimiException(FormattableString.Invariant($"The system has no memory to cache {tokens:N0} more tokens beside the {sequence.Length:N0} that there are. Take fewer tokens, or free some memory."));
        }
    }
}
