// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// The cached tokens of one sequence. Its first pages may be shared with others, and are never written again; the rest are
/// its own until disposed. Used by the cache's thread.
/// </summary>
internal sealed class KvSequence : IDisposable
{
    private readonly KvCache _cache;
    private readonly bool _shares;
    private readonly List<int> _pages = [];
    private readonly List<int> _ownTokens = [];
    private CachedPage _lastShared;
    private int _sharedPages;
    private int[] _table = [];

    internal KvSequence(KvCache cache, bool shares)
    {
        _cache = cache;
        _shares = shares;
        _lastShared = cache.Prefixes.Root;
    }

    /// <summary>Tokens in the cache.</summary>
    public int Length { get; private set; }

    /// <summary>The pages in order.</summary>
    public ReadOnlyMemory<int> Pages => _table;

    /// <summary>The last of those that are shared; the root where there is none.</summary>
    public CachedPage LastShared => _lastShared;

    /// <summary>
    /// Goes on as far as others have computed the same text: whole pages are shared, and of the page where the texts part a
    /// copy is made, where this sequence has a page to copy to. A cache that keeps no prefixes gives nothing.
    /// </summary>
    /// <param name="text">The sequence's tokens, those that are in the cache already and those to come. The last one is left to be computed.</param>
    /// <returns>Tokens gained.</returns>
    public int Adopt(ReadOnlySpan<int> text) => _shares && _cache.KeepsPrefixes ? Adopt(text, null) : 0;

    /// <summary>The same from one prefix alone, whatever else the cache holds; for a sequence that has begun from nothing else.</summary>
    /// <param name="text">The sequence's tokens; see <see cref="Adopt(ReadOnlySpan{int})"/>.</param>
    /// <param name="prefix">Held by somebody.</param>
    /// <returns>Tokens gained.</returns>
    public int Adopt(ReadOnlySpan<int> text, KvPrefix prefix) => Adopt(text, (prefix.Pages(), prefix.Length));

    private int Adopt(ReadOnlySpan<int> text, (CachedPage[] Pages, int Length)? only)
    {
        int before = Length;
        while (true)
        {
            int start = _sharedPages * KvPage.Tokens;
            int common = only is { } prefix
                ? Common(prefix.Pages.ElementAtOrDefault(_sharedPages), prefix.Length - start, text[start..^1], out CachedPage? page)
                : PrefixTree.Find(_lastShared, text[start..^1], out page);
            if (start + common <= Length)
            {
                break;
            }

            if (common == KvPage.Tokens)
            {
                Share(page!);
                _ownTokens.Clear();
                Length = start + common;
                continue;
            }

            _cache.Prefixes.Touch(page!);
            if (_sharedPages < _pages.Count)
            {
                _cache.CopyPage(page!.Page, _pages[_sharedPages]);
                _ownTokens.Clear();
                _ownTokens.AddRange(text.Slice(start, common));
                Length = start + common;
            }

            break;
        }

        if (Length > before)
        {
            _table = [.. _pages];
        }

        return Length - before;
    }

    /// <summary>Makes room for <paramref name="tokens"/> more tokens.</summary>
    /// <param name="tokens">At least 0.</param>
    /// <param name="reserve">Pages that stay free for others.</param>
    /// <returns>False, with nothing changed, when the budget has no page left.</returns>
    /// <exception cref="ContextLengthException">The sequence would be longer than the context.</exception>
    public bool TryExtend(int tokens, int reserve = 0)
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

        if (!_cache.TryTake(missing, _pages, reserve))
        {
            return false;
        }

        _table = [.. _pages];
        return true;
    }

    /// <summary>Counts tokens that a forward pass has written; for sequences that do not share.</summary>
    public void Advance(int tokens)
    {
        if (_shares)
        {
            throw new InvalidOperationException("A sequence that shares its pages must know their tokens.");
        }

        Count(tokens);
    }

    /// <summary>Takes in tokens that a forward pass has written without an error. From here on others may share the pages that they fill.</summary>
    public void Advance(ReadOnlySpan<int> tokens)
    {
        Count(tokens.Length);
        if (!_shares)
        {
            return;
        }

        _ownTokens.AddRange(tokens);
        int taken = 0;
        for (; _ownTokens.Count - taken >= KvPage.Tokens; taken += KvPage.Tokens)
        {
            int page = _pages[_sharedPages];
            if (_cache.Prefixes.TryAdd(_lastShared, CollectionsMarshal.AsSpan(_ownTokens).Slice(taken, KvPage.Tokens), page, out CachedPage cached))
            {
                Follow(cached);
            }
            else
            {
                // Somebody computed the same meanwhile, but for last bits of long steps.
                Share(cached);
                _table = [.. _pages];
            }
        }

        _ownTokens.RemoveRange(0, taken);
    }

    /// <summary>Goes on with the next whole page as it was read before from a sequence of the same text; for sequences that share and have room for it.</summary>
    /// <param name="tokens">Of all the page.</param>
    /// <param name="bytes">Their contents; see <see cref="IHotPath.WritePage"/>.</param>
    /// <returns>Tokens gained; those of the page that the sequence had are written again.</returns>
    public int TakeIn(ReadOnlySpan<int> tokens, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<int> gained = tokens[_ownTokens.Count..];
        _cache.WritePage(_pages[_sharedPages], tokens.Length, bytes);
        Advance(gained);
        return gained.Length;
    }

    /// <summary>Writes a page that was read before from a sequence of the same text; see <see cref="IHotPath.WritePage"/>.</summary>
    /// <param name="index">Of the page in this sequence, among those that <see cref="TryExtend"/> gave.</param>
    /// <param name="tokens">Tokens of the page.</param>
    /// <param name="bytes">Their contents.</param>
    public void Write(int index, int tokens, ReadOnlySpan<byte> bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(index, KvCache.PagesFor(Length));
        _cache.WritePage(_pages[index], tokens, bytes);
    }

    /// <summary>Ends the sequence and leaves its tokens in the cache.</summary>
    /// <returns>All its tokens, held for the caller; none where it does not share.</returns>
    public KvPrefix Leave()
    {
        if (_ownTokens.Count > 0)
        {
            if (_cache.Prefixes.TryAdd(_lastShared, CollectionsMarshal.AsSpan(_ownTokens), _pages[_sharedPages], out CachedPage cached))
            {
                Follow(cached);
            }
            else
            {
                Share(cached);
            }
        }

        var prefix = new KvPrefix(_lastShared, _shares ? Length : 0);
        _cache.Prefixes.Hold(prefix.Last);
        Dispose();
        return prefix;
    }

    /// <summary>Ends the sequence. What it has not shared is lost.</summary>
    public void Dispose()
    {
        for (int i = _sharedPages; i < _pages.Count; i++)
        {
            _cache.Return(_pages[i]);
        }

        if (_sharedPages > 0)
        {
            _cache.Release(new KvPrefix(_lastShared, 0));
        }

        (_lastShared, _sharedPages, _table, Length) = (_cache.Prefixes.Root, 0, [], 0);
        _pages.Clear();
        _ownTokens.Clear();
    }

    private static int Common(CachedPage? page, int tokens, ReadOnlySpan<int> text, out CachedPage? common)
    {
        common = page;
        return page is null ? 0 : page.Tokens.AsSpan(0, Math.Min(page.Tokens.Length, tokens)).CommonPrefixLength(text);
    }

    private void Count(int tokens)
    {
        if (KvCache.PagesFor(Length + tokens) > _pages.Count)
        {
            throw new InvalidOperationException($"{_pages.Count} pages of {KvPage.Tokens} tokens do not hold {Length + tokens} tokens.");
        }

        Length += tokens;
    }

    /// <summary>Goes on with a page of somebody else, in place of an own one where there is one.</summary>
    private void Share(CachedPage page)
    {
        if (_sharedPages < _pages.Count)
        {
            _cache.Return(_pages[_sharedPages]);
            _pages[_sharedPages] = page.Page;
        }
        else
        {
            _pages.Add(page.Page);
        }

        Follow(page);
    }

    /// <summary>The next page is shared from here on.</summary>
    private void Follow(CachedPage page)
    {
        _cache.Prefixes.Hold(page);
        if (_sharedPages > 0)
        {
            _cache.Prefixes.Release(_lastShared);
        }

        (_lastShared, _sharedPages) = (page, _sharedPages + 1);
    }
}
