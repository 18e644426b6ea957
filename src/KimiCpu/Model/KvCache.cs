// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// Hands out the pages of the latent cache within a byte budget. Pages are made on demand and reused; their contents
/// live in the hot path. Pages that sequences leave stay known by their text until another sequence needs the room. Where the
/// system has no memory for another page, those that were made are all there are from then on. Used by one thread at a time.
/// </summary>
internal sealed class KvCache
{
    /// <summary>What helps where nothing but the budget limits the cache.</summary>
    public const string LargerBudget = "raise KimiModelOptions.KvCacheBytes";

    private readonly IHotPath _hotPath;
    private readonly Stack<int> _free = new();
    private readonly Action<int, int>? _ranOut;
    private int _made;

    /// <param name="hotPath">Owner of the pages' contents.</param>
    /// <param name="byteBudget">Most bytes of all pages together; at least one page is always allowed.</param>
    /// <param name="contextLength">Most tokens of one sequence.</param>
    /// <param name="keepsPrefixes">Whether pages that nobody holds any more stay known.</param>
    /// <param name="ranOut">Told once, where memory ends before the budget does: pages that there are, and that the budget has.</param>
    /// <param name="moreRoom">See <see cref="MoreRoom"/>.</param>
    public KvCache(IHotPath hotPath, long byteBudget, int contextLength, bool keepsPrefixes = true, Action<int, int>? ranOut = null, string moreRoom = LargerBudget)
    {
        _hotPath = hotPath;
        _ranOut = ranOut;
        MoreRoom = moreRoom;
        ContextLength = contextLength;
        KeepsPrefixes = keepsPrefixes;
        PageCapacity = (int)Math.Clamp(byteBudget / hotPath.BytesPerPage, 1, int.MaxValue);
        Prefixes = new PrefixTree(_free.Push);
    }

    /// <summary>Most tokens of one sequence.</summary>
    public int ContextLength { get; }

    /// <summary>Whether pages that nobody holds any more stay known.</summary>
    public bool KeepsPrefixes { get; }

    /// <summary>What a user can do for more pages, in the imperative: <see cref="LargerBudget"/>, or what makes room on a device.</summary>
    public string MoreRoom { get; }

    /// <summary>Pages that fit the budget, or those that could be made where memory has ended before.</summary>
    public int PageCapacity { get; private set; }

    /// <summary>Pages that nobody holds: not yet made, empty, or known by their text and given up when needed.</summary>
    public int FreePages => PageCapacity - _made + _free.Count + Prefixes.Count - Prefixes.HeldCount;

    /// <summary>Pages that nobody holds and that are known by their text.</summary>
    public int ReusablePages => Prefixes.Count - Prefixes.HeldCount;

    /// <summary>Bytes of the pages made so far.</summary>
    public long BytesInUse => _made * _hotPath.BytesPerPage;

    /// <summary>Bytes of a token over all layers.</summary>
    public int BytesPerToken => (int)(_hotPath.BytesPerPage / KvPage.Tokens);

    internal PrefixTree Prefixes { get; }

    /// <param name="shares">Whether the sequence may take over pages of others and leaves its own to them.</param>
    public KvSequence CreateSequence(bool shares = false) => new(this, shares);

    /// <summary>Pages that hold so many tokens.</summary>
    public static int PagesFor(int tokens) => (int)(((long)tokens + KvPage.Tokens - 1) / KvPage.Tokens);

    /// <summary>Keeps all tokens up to the end of a page that somebody holds.</summary>
    public KvPrefix Hold(CachedPage page)
    {
        Prefixes.Hold(page);
        return new KvPrefix(page, page.End);
    }

    /// <summary>Gives up the hold on a prefix.</summary>
    public void Release(KvPrefix prefix)
    {
        Prefixes.Release(prefix.Last);
        if (!KeepsPrefixes)
        {
            while (Prefixes.TryEvict())
            {
            }
        }
    }

    /// <summary>Copies the first tokens of a page out; see <see cref="IHotPath.ReadPage"/>.</summary>
    public void ReadPage(CachedPage page, int tokens, Span<byte> bytes) => _hotPath.ReadPage(page.Page, tokens, bytes);

    internal void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes) => _hotPath.WritePage(page, tokens, bytes);

    internal void CopyPage(int source, int target) => _hotPath.CopyPage(source, target);

    internal bool TryTake(int count, List<int> pages, int reserve)
    {
        if (count > FreePages - reserve)
        {
            return false;
        }

        Make(Math.Min(count - _free.Count, PageCapacity - _made));
        if (count > FreePages - reserve)
        {
            return false;
        }

        while (_free.Count < count && Prefixes.TryEvict())
        {
        }

        for (int i = 0; i < count; i++)
        {
            pages.Add(_free.Pop());
        }

        return true;
    }

    internal void Return(int page) => _free.Push(page);

    /// <summary>Makes pages. Where memory ends the cache is as large as it is: pages can be given up for others, and calls fail for want of room alone.</summary>
    private void Make(int count)
    {
        int before = _made;
        try
        {
            while (_made - before < count)
            {
                _hotPath.ReservePages(_made + 1);
                _made++;
            }
        }
        catch (OutOfMemoryException) when (_made > 0)
        {
            int wanted = PageCapacity;
            PageCapacity = _made;
            _ranOut?.Invoke(_made, wanted);
        }
        finally
        {
            for (int page = _made - 1; page >= before; page--)
            {
                _free.Push(page);
            }
        }
    }
}
