// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>Tokens in the cache from the beginning of a text on. Whoever has one holds its pages, until <see cref="KvCache.Release"/>.</summary>
/// <param name="Last">The page that holds the last token; the root where there is none.</param>
/// <param name="Length">Tokens; the last page may go on further.</param>
internal readonly record struct KvPrefix(CachedPage Last, int Length)
{
    /// <summary>Tokens that are in no cache.</summary>
    /// <param name="tokens">At least one.</param>
    public static KvPrefix WithoutPages(int[] tokens)
    {
        CachedPage last = CachedPage.MakeRoot();
        foreach (int[] page in tokens.Chunk(KvPage.Tokens))
        {
            last = new CachedPage(last, page, page: -1);
        }

        return new KvPrefix(last, tokens.Length);
    }

    /// <summary>The pages in order.</summary>
    public CachedPage[] Pages()
    {
        var pages = new CachedPage[KvCache.PagesFor(Length)];
        CachedPage page = Last;
        for (int i = pages.Length - 1; i >= 0; i--)
        {
            pages[i] = page;
            page = page.Parent!;
        }

        return pages;
    }

    /// <summary>The last page that is wholly in it and leads to another page of its cache, or is that page; the root where they have nothing in common.</summary>
    public CachedPage Fork(CachedPage other)
    {
        CachedPage own = Last;
        while (own != other || own.End > Length)
        {
            (own, other) = own.End > other.End ? (own.Parent!, other) : (own, other.Parent!);
        }

        return own;
    }

    /// <summary>Pages behind one of its own that nobody else holds.</summary>
    public int HeldAloneBehind(CachedPage page)
    {
        int pages = 0;
        for (CachedPage at = Last; at != page && at.Holders == 1; at = at.Parent!)
        {
            pages++;
        }

        return pages;
    }

    /// <summary>The tokens in order.</summary>
    public int[] Tokens() => [.. Pages().SelectMany(p => p.Tokens).Take(Length)];
}
