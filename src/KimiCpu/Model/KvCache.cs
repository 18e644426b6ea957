// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// Hands out the pages of the latent cache within a byte budget. Pages are made on demand and reused; their contents
/// live in the hot path. Used by one thread at a time.
/// </summary>
internal sealed class KvCache
{
    private readonly IHotPath _hotPath;
    private readonly Stack<int> _free = new();
    private int _made;

    /// <param name="hotPath">Owner of the pages' contents.</param>
    /// <param name="byteBudget">Most bytes of all pages together; at least one page is always allowed.</param>
    /// <param name="contextLength">Most tokens of one sequence.</param>
    public KvCache(IHotPath hotPath, long byteBudget, int contextLength)
    {
        _hotPath = hotPath;
        ContextLength = contextLength;
        PageCapacity = (int)Math.Clamp(byteBudget / hotPath.BytesPerPage, 1, int.MaxValue);
    }

    /// <summary>Most tokens of one sequence.</summary>
    public int ContextLength { get; }

    /// <summary>Pages that fit the budget.</summary>
    public int PageCapacity { get; }

    /// <summary>Pages that no sequence holds, made or not yet made.</summary>
    public int FreePages => PageCapacity - _made + _free.Count;

    /// <summary>Bytes of the pages made so far.</summary>
    public long BytesInUse => _made * _hotPath.BytesPerPage;

    public KvSequence CreateSequence() => new(this);

    /// <summary>Pages that hold so many tokens.</summary>
    public static int PagesFor(int tokens) => (int)(((long)tokens + KvPage.Tokens - 1) / KvPage.Tokens);

    internal bool TryTake(int count, List<int> pages)
    {
        if (count > FreePages)
        {
            return false;
        }

        int fresh = count - _free.Count;
        if (fresh > 0)
        {
            _hotPath.ReservePages(_made + fresh);
            for (int page = _made + fresh - 1; page >= _made; page--)
            {
                _free.Push(page);
            }

            _made += fresh;
        }

        for (int i = 0; i < count; i++)
        {
            pages.Add(_free.Pop());
        }

        return true;
    }

    internal void Return(List<int> pages)
    {
        foreach (int page in pages)
        {
            _free.Push(page);
        }

        pages.Clear();
    }
}
