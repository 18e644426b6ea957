// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>The cached tokens of one sequence; owner of its pages until disposed. Used by the cache's thread.</summary>
internal sealed class KvSequence : IDisposable
{
    private readonly KvCache _cache;
    private readonly List<int> _pages = [];
    private int[] _table = [];

    internal KvSequence(KvCache cache) => _cache = cache;

    /// <summary>Tokens in the cache.</summary>
    public int Length { get; private set; }

    /// <summary>The pages in order.</summary>
    public ReadOnlyMemory<int> Pages => _table;

    /// <summary>Makes room for <paramref name="tokens"/> more tokens.</summary>
    /// <returns>False, with nothing changed, when the budget has no page left.</returns>
    /// <exception cref="ContextLengthException">The sequence would be longer than the context.</exception>
    public bool TryExtend(int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokens);
        if (Length + (long)tokens > _cache.ContextLength)
        {
            throw new ContextLengthException($"{Length} tokens and {tokens} more do not fit the context of {_cache.ContextLength} tokens.");
        }

        int missing = KvCache.PagesFor(Length + tokens) - _pages.Count;
        if (missing <= 0)
        {
            return true;
        }

        if (!_cache.TryTake(missing, _pages))
        {
            return false;
        }

        _table = [.. _pages];
        return true;
    }

    /// <summary>Counts tokens that a forward pass has written.</summary>
    public void Advance(int tokens)
    {
        if (KvCache.PagesFor(Length + tokens) > _pages.Count)
        {
            throw new InvalidOperationException($"{_pages.Count} pages of {KvPage.Tokens} tokens do not hold {Length + tokens} tokens.");
        }

        Length += tokens;
    }

    public void Dispose()
    {
        _cache.Return(_pages);
        _table = [];
        Length = 0;
    }
}
