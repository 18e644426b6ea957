// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Model;

/// <summary>
/// A page whose tokens are computed and never change again, in the tree of all such pages: the path to it is the text before
/// it. Only full pages have children.
/// </summary>
internal sealed class CachedPage
{
    private readonly List<CachedPage> _children = [];

    private CachedPage()
    {
    }

    public CachedPage(CachedPage parent, int[] tokens, int page)
    {
        Parent = parent;
        Tokens = tokens;
        Page = page;
        End = parent.End + tokens.Length;
    }

    /// <summary>What comes before; null for the root, which has no page.</summary>
    public CachedPage? Parent { get; }

    /// <summary>The page's tokens, a full page of them or fewer.</summary>
    public int[] Tokens { get; } = [];

    /// <summary>Number of the page in the hot path; -1 for the root.</summary>
    public int Page { get; } = -1;

    /// <summary>Tokens from the beginning of the text to the end of this page.</summary>
    public int End { get; }

    /// <summary>Sequences and sessions that end here, and children that are held.</summary>
    public int Holders { get; set; }

    /// <summary>Larger is later.</summary>
    public long LastUse { get; set; }

    /// <summary>Whether its tree has given it up, for good.</summary>
    public bool IsGivenUp { get; set; }

    /// <summary>Names the text to the end of this page for a slower place that keeps pages; null until somebody asks for it, and where there is none.</summary>
    public byte[]? Key { get; set; }

    /// <summary>In the order of their tokens; a shorter one before those that go on from it.</summary>
    public IReadOnlyList<CachedPage> Children => _children;

    public static CachedPage MakeRoot() => new();

    /// <summary>Place of the first child that does not come before the tokens.</summary>
    public int PlaceOf(ReadOnlySpan<int> tokens)
    {
        (int low, int high) = (0, _children.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (Compare(_children[middle].Tokens, tokens) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    public void Insert(int place, CachedPage child) => _children.Insert(place, child);

    public void Remove(CachedPage child) => _children.RemoveAt(PlaceOf(child.Tokens));

    private static int Compare(ReadOnlySpan<int> a, ReadOnlySpan<int> b)
    {
        int common = a.CommonPrefixLength(b);
        return common < a.Length && common < b.Length ? a[common].CompareTo(b[common]) : a.Length.CompareTo(b.Length);
    }
}
