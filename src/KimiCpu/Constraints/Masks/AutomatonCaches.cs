// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;

namespace KimiCpu.Constraints.Masks;

/// <summary>
/// Bounds what the automata of one tokenizer have found out together, whoever keeps them: a running call holds one for each of its tools, and each may grow. Where
/// they become too much, those that were used longest ago begin anew. Safe to use from several threads.
/// </summary>
/// <param name="maxBytes">What they may take together.</param>
internal sealed class AutomatonCaches(long maxBytes = 512_000_000)
{
    /// <summary>All are looked at after they have grown by this part of what they may take, by which they may be above it.</summary>
    private const int Part = 32;

    private readonly ConditionalWeakTable<TokenAutomaton, object?> _automata = [];
    private long _grown;
    private long _uses;

    /// <summary>What all take now, roughly.</summary>
    public long Bytes => _automata.Sum(a => a.Key.CachedBytes);

    /// <summary>Watches an automaton as long as it is there.</summary>
    public void Add(TokenAutomaton automaton) => _automata.Add(automaton, null);

    /// <summary>A number for a use, larger than those of all before it.</summary>
    public long NextUse() => Interlocked.Increment(ref _uses);

    /// <summary>Counts what an automaton has grown by. Its lock must be free: another one's is taken.</summary>
    public void Grow(long bytes)
    {
        if (Interlocked.Add(ref _grown, bytes) >= maxBytes / Part && Interlocked.Exchange(ref _grown, 0) > 0)
        {
            Trim();
        }
    }

    private void Trim()
    {
        (TokenAutomaton Automaton, long LastUse, long Bytes)[] all = [.. _automata.Select(a => (a.Key, a.Key.LastUse, a.Key.CachedBytes))];
        long bytes = all.Sum(a => a.Bytes);
        foreach ((TokenAutomaton automaton, _, long cached) in all.OrderBy(a => a.LastUse))
        {
            if (bytes <= maxBytes)
            {
                break;
            }

            // One that is at work is not among the oldest, and nobody shall wait for it.
            bytes -= automaton.TryForget() ? cached : 0;
        }
    }
}
