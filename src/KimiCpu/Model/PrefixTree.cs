// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// All pages that may be shared, by the text that leads to them. Children are kept in order, so that the one that agrees
/// longest is found by bisection, and found by comparing tokens: nothing can be taken for something else. Pages that nobody
/// holds are given up from the ends of the texts on, the least recently used first, and last of all those that somebody is about to use.
/// </summary>
internal sealed class PrefixTree
{
    private readonly SortedSet<CachedPage> _evictable = new(Comparer<CachedPage>.Create((a, b) => a.LastUse.CompareTo(b.LastUse)));
    private readonly List<CachedPage> _path = [];
    private readonly Action<int> _free;
    private long _clock;

    /// <param name="free">Told the number of a page that is given up.</param>
    public PrefixTree(Action<int> free) => _free = free;

    /// <summary>Holds no page and is never given up.</summary>
    public CachedPage Root { get; } = MakeRoot();

    /// <summary>Pages in the tree.</summary>
    public int Count { get; private set; }

    /// <summary>Pages that somebody holds or that lead to such a page.</summary>
    public int HeldCount { get; private set; }

    /// <summary>Grows when a page comes to be the most recently used of those that nobody holds, but for <see cref="NoteNeeded"/>.</summary>
    public long Uses { get; private set; }

    /// <summary>Told of each page that the tree takes in; null for nobody.</summary>
    public Action<CachedPage>? Added { get; set; }

    /// <summary>The child that agrees with the tokens longest.</summary>
    /// <param name="parent">What comes before.</param>
    /// <param name="tokens">Those that follow; a page full of them is looked at.</param>
    /// <param name="child">Null where none agrees in even the first token.</param>
    /// <returns>Tokens that agree.</returns>
    public static int Find(CachedPage parent, ReadOnlySpan<int> tokens, out CachedPage? child)
    {
        tokens = tokens[..Math.Min(tokens.Length, KvPage.Tokens)];
        int place = parent.PlaceOf(tokens);
        int best = 0;
        child = null;

        // In a sorted list the longest agreement is with a neighbour.
        for (int i = Math.Max(place - 1, 0); i <= place && i < parent.Children.Count; i++)
        {
            int common = parent.Children[i].Tokens.AsSpan().CommonPrefixLength(tokens);
            if (common > best)
            {
                (best, child) = (common, parent.Children[i]);
            }
        }

        return best;
    }

    /// <summary>The last of the whole pages that a text begins with and that somebody holds. No use is noted.</summary>
    /// <param name="text">Of any length.</param>
    /// <param name="before">What this was for the same text or a beginning of it at any time before, or the root. Only what others have taken hold of or released since is walked.</param>
    public static CachedPage LastHeld(ReadOnlySpan<int> text, CachedPage before)
    {
        // Whoever holds a page holds all that lead to it, and nobody one that has been given up.
        CachedPage at = before;
        while (at.Holders == 0)
        {
            at = at.Parent!;
        }

        while (Find(at, text[at.End..], out CachedPage? next) == KvPage.Tokens && next!.Holders > 0)
        {
            at = next;
        }

        return at;
    }

    /// <summary>The last of the whole pages that a text begins with, held or not. No use is noted.</summary>
    /// <param name="text">Of any length.</param>
    /// <param name="before">What this was for the same text or a beginning of it at any time before, or the root. Only what has come or gone since is walked.</param>
    public static CachedPage LastKnown(ReadOnlySpan<int> text, CachedPage before)
    {
        CachedPage at = before;
        while (at.IsGivenUp)
        {
            at = at.Parent!;
        }

        while (Find(at, text[at.End..], out CachedPage? next) == KvPage.Tokens)
        {
            at = next!;
        }

        return at;
    }

    /// <summary>Takes a page in.</summary>
    /// <param name="parent">A full page, or the root.</param>
    /// <param name="tokens">Of the page, at least one.</param>
    /// <param name="page">Its number.</param>
    /// <param name="cached">The page with these tokens: the one that was added or one that was there and may go on further.</param>
    /// <returns>Whether the page now belongs to the tree.</returns>
    public bool TryAdd(CachedPage parent, ReadOnlySpan<int> tokens, int page, out CachedPage cached)
    {
        if (Find(parent, tokens, out CachedPage? present) == tokens.Length)
        {
            cached = present!;
            return false;
        }

        cached = new CachedPage(parent, tokens.ToArray(), page) { LastUse = ++_clock };
        _evictable.Remove(parent);
        parent.Insert(parent.PlaceOf(tokens), cached);
        _evictable.Add(cached);
        Count++;
        int place = parent.PlaceOf(tokens);
        if (place > 0)
        {
            DropIfContinued(parent.Children[place - 1], cached);
        }

        Added?.Invoke(cached);
        return true;
    }

    /// <summary>Keeps a page and all that lead to it until <see cref="Release"/>.</summary>
    public void Hold(CachedPage page)
    {
        for (CachedPage? at = page; at is not null && at.Holders++ == 0; at = at.Parent)
        {
            HeldCount++;
            _evictable.Remove(at);
        }
    }

    public void Release(CachedPage page)
    {
        for (CachedPage? at = page; at is not null && --at.Holders == 0; at = at.Parent)
        {
            HeldCount--;
            Uses++;
            at.LastUse = ++_clock;
            if (at.Children.Count == 0)
            {
                _evictable.Add(at);
            }
        }

        if (page.Holders == 0 && Next(page) is { } next)
        {
            DropIfContinued(page, next);
        }
    }

    /// <summary>Notes a use of a page that is not held.</summary>
    public void Touch(CachedPage page)
    {
        Uses++;
        NoteUse(page, ++_clock);
    }

    /// <summary>
    /// Notes that texts will be used soon, so that all others are given up before them. Nothing is held, and no page is visited more than once.
    /// </summary>
    /// <param name="ends">The last page of each text that is known; what is needed first comes first, and is given up last.</param>
    public void NoteNeeded(IEnumerable<CachedPage> ends)
    {
        long before = _clock;
        _clock += Count;
        long use = _clock;
        foreach (CachedPage end in ends)
        {
            // Whoever holds a page holds all that lead to it, and an earlier text has noted all that lead to what it has noted.
            _path.Clear();
            for (CachedPage at = end; at.Holders == 0 && at.LastUse <= before; at = at.Parent!)
            {
                _path.Add(at);
            }

            for (int i = _path.Count - 1; i >= 0; i--)
            {
                NoteUse(_path[i], use--);
            }
        }

        _path.Clear();
    }

    /// <summary>Gives up the page that was least recently used among those that nobody holds and none follows.</summary>
    public bool TryEvict()
    {
        if (_evictable.Min is not { } oldest)
        {
            return false;
        }

        Drop(oldest);
        return true;
    }

    private void NoteUse(CachedPage page, long use)
    {
        bool evictable = _evictable.Remove(page);
        page.LastUse = use;
        if (evictable)
        {
            _evictable.Add(page);
        }
    }

    private static CachedPage MakeRoot()
    {
        CachedPage root = CachedPage.MakeRoot();
        root.Holders = 1;
        return root;
    }

    private static CachedPage? Next(CachedPage page)
    {
        if (page.Parent is not { } parent)
        {
            return null;
        }

        int place = parent.PlaceOf(page.Tokens) + 1;
        return place < parent.Children.Count ? parent.Children[place] : null;
    }

    /// <summary>The beginning of a page is worth nothing beside the page.</summary>
    private void DropIfContinued(CachedPage page, CachedPage next)
    {
        if (_evictable.Contains(page) && next.Tokens.AsSpan().StartsWith(page.Tokens))
        {
            Drop(page);
        }
    }

    private void Drop(CachedPage page)
    {
        _evictable.Remove(page);
        page.IsGivenUp = true;
        Count--;
        CachedPage parent = page.Parent!;
        parent.Remove(page);
        if (parent.Children.Count == 0 && parent.Holders == 0)
        {
            parent.LastUse = Math.Max(parent.LastUse, page.LastUse);
            _evictable.Add(parent);
        }

        _free(page.Page);
    }
}
