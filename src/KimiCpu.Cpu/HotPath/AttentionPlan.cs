// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Cpu;

/// <summary>Consecutive rows of a sequence that pass over its context together, and whether that is cut.</summary>
/// <param name="Row">The first, in the batch.</param>
/// <param name="Rows">1 … <see cref="LatentAttention.RowGroup"/>.</param>
/// <param name="Sequence">Index of theirs.</param>
/// <param name="Visible">Tokens that the last row sees.</param>
internal readonly record struct AttentionRows(int Row, int Rows, int Sequence, int Visible)
{
    /// <summary>Segments that are attended to apart; 1 where the context is not cut.</summary>
    public int Segments { get; init; } = 1;

    /// <summary>Where its parts, (segments, rows, heads), begin; none where the context is not cut.</summary>
    public long FirstPart { get; init; }

    public bool IsCut => Segments > 1;
}

/// <summary>Some heads of such rows, over all that they see or some segments of it.</summary>
/// <param name="Group">Index of the rows.</param>
/// <param name="Segment">The first; 0 where the context is not cut.</param>
/// <param name="Segments">How many that follow each other, of which the last ones may be behind the context's end.</param>
/// <param name="Head">The first.</param>
/// <param name="Heads">How many.</param>
/// <param name="Cost">How long it takes, in no unit.</param>
internal readonly record struct AttentionItem(int Group, int Segment, int Segments, int Head, int Heads, long Cost);

/// <summary>
/// Cuts the attention of a batch into items of work: heads for some consecutive rows of a sequence, over their whole context or a segment of it. An item is
/// as large as it may be, since a page is read, and widened or paired, once for all its queries, but for those at the end, which even the threads out: items are given to
/// threads, each to the one that has the least to do, the longest first, and what would keep any of them busy for longer than its part of the work is cut into sums of segments, these into halves, and then into halves of its heads, as far as that ends sooner. So few long contexts occupy all
/// threads, by themselves and beside prompts. How work is cut changes no result (see <see cref="LatentAttention"/>), so it may depend on the threads and on the company.
/// </summary>
/// <param name="shape">Sizes.</param>
/// <param name="lanes">Queries that take not much longer together than half of them.</param>
internal sealed class AttentionPlan(ModelShape shape, int lanes)
{
    /// <summary>
    /// What parts may take: a thread needs work of its own, not all contexts. At least those of two of Kimi K2's longest contexts, one row each, and at most of two million cached tokens. Beyond that contexts stay whole;
    /// there are so many long ones that their heads occupy the threads.
    /// </summary>
    public const long PartBytesOfThread = 16L << 20;
    public const long LeastPartBytes = 136L << 20;
    public const long MostPartBytes = 512L << 20;

    /// <summary>Threads may take longer than their part of the work by this part of it, since cutting more takes time itself, and so much longer again and again while that ends sooner.</summary>
    private const int SlackPart = 16;

    /// <summary>
    /// What a token costs a query, a place in a vector of queries, and all queries of an item together, which widen or pair it: as 89, 98, 143, 157, 222 and 272 us for 8, 16, 24, 32, 48 and 64 heads
    /// of Kimi K2 over 512 tokens say (products of BF16 on a core of Zen 5, least of several; in single precision 160 to 460, within a tenth).
    /// </summary>
    private const int CostOfQuery = 1;
    private const int CostOfLane = 2;
    private const int CostOfToken = 36;

    private static readonly Comparison<AttentionItem> s_longestFirst = (a, b) =>
        a.Cost != b.Cost ? b.Cost.CompareTo(a.Cost)
        : a.Group != b.Group ? a.Group.CompareTo(b.Group)
        : a.Segment != b.Segment ? a.Segment.CompareTo(b.Segment)
        : a.Head.CompareTo(b.Head);

    private static readonly Comparison<(int Thread, AttentionItem Item)> s_byThread = (a, b) => a.Thread != b.Thread ? a.Thread.CompareTo(b.Thread) : s_longestFirst(a.Item, b.Item);

    /// <summary>As many as a conversation's context has segments, and halves of their heads: what a context that grows asks for beyond that is rarely more.</summary>
    private const int UsualItems = 256;

    private readonly List<AttentionRows> _groups = [];
    private readonly List<AttentionItem> _whole = [];
    private readonly List<(int Thread, AttentionItem Item)> _given = new(UsualItems);

    /// <summary>What each thread has to do so far.</summary>
    private readonly PriorityQueue<int, long> _loads = new();
    private List<AttentionItem> _ungiven = new(UsualItems);
    private List<AttentionItem> _cut = new(UsualItems);
    private AttentionItem[] _items = new AttentionItem[UsualItems];
    private int[] _shareEnds = [];
    private long _mostPartBytes;
    private long _mostLoad;
    private long _end;

    /// <summary>In the batch's order.</summary>
    public ReadOnlySpan<AttentionRows> Groups => CollectionsMarshal.AsSpan(_groups);

    /// <summary>Thread by thread: each share begins with long ones and ends with short ones, which are what is taken from others.</summary>
    public ReadOnlySpan<AttentionItem> Items => _items.AsSpan(0, _given.Count);

    /// <summary>Behind each thread's last item.</summary>
    public ReadOnlySpan<int> ShareEnds => _shareEnds;

    /// <summary>An <see cref="AttentionPart"/> a segment, row and head of contexts that are cut.</summary>
    public long PartCount { get; private set; }

    /// <summary>Cuts a batch.</summary>
    /// <param name="batch">Its sequences.</param>
    /// <param name="tooManyRows">Sequences with so many new tokens are left to somebody else.</param>
    /// <param name="threads">That share the work.</param>
    public void Make(RaggedBatch batch, int tooManyRows, int threads)
    {
        _mostPartBytes = Math.Clamp(threads * PartBytesOfThread, LeastPartBytes, MostPartBytes);
        _groups.Clear();
        _whole.Clear();
        for (int s = 0; s < batch.Sequences.Length; s++)
        {
            BatchSequence sequence = batch.Sequences[s];
            for (int row = 0; row < sequence.RowCount && sequence.RowCount < tooManyRows; row += LatentAttention.RowGroup)
            {
                int rows = Math.Min(LatentAttention.RowGroup, sequence.RowCount - row);
                _groups.Add(new AttentionRows(sequence.FirstRow + row, rows, s, sequence.Start + row + rows));
                AddItems(_groups.Count - 1, _whole);
            }
        }

        CollectionsMarshal.AsSpan(_whole).Sort(s_longestFirst);
        GiveAll(threads, threads == 1 ? long.MaxValue : SoonestLoad(threads));
        Share(threads);
    }

    /// <summary>What a thread may be given at most, so that the last one ends as early as possible.</summary>
    private long SoonestLoad(int threads)
    {
        long all = 0;
        foreach (AttentionItem item in _whole)
        {
            all += item.Cost;
        }

        long best = 0, soonest = long.MaxValue;
        for (long most = (all / threads) + 1; most < soonest;)
        {
            most += (most / SlackPart) + 1;
            GiveAll(threads, most);
            (best, soonest) = _end < soonest ? (most, _end) : (best, soonest);
        }

        return best;
    }

    /// <summary>Gives all work to threads, so much to each of them where it can be cut as finely.</summary>
    private void GiveAll(int threads, long mostLoad)
    {
        _mostLoad = mostLoad;
        _end = 0;
        PartCount = 0;
        _given.Clear();
        _loads.Clear();
        for (int i = 0; i < threads; i++)
        {
            _loads.Enqueue(i, 0);
        }

        foreach (ref AttentionRows group in CollectionsMarshal.AsSpan(_groups))
        {
            group = group with { Segments = 1, FirstPart = 0 };
        }

        foreach (AttentionItem whole in _whole)
        {
            // With its first heads all of a context is cut.
            if (!_groups[whole.Group].IsCut && (whole.Head > 0 || Fits(whole) || !TryCut(whole.Group)))
            {
                Give(whole);
            }
        }

        GiveCut();
    }

    /// <summary>As many heads at once as pass over a page together, for all segments at once whose sum is one part of a context that is cut.</summary>
    private void AddItems(int index, List<AttentionItem> items)
    {
        int most = LatentAttention.MostQueries / _groups[index].Rows / LatentAttention.HeadGroup * LatentAttention.HeadGroup;
        for (int segment = 0, count; segment < _groups[index].Segments; segment += count)
        {
            count = _groups[index].IsCut ? ContextSegments.Together(segment) : 1;
            for (int head = 0; head < shape.HeadCount; head += most)
            {
                items.Add(Item(index, segment, count, head, Math.Min(most, shape.HeadCount - head)));
            }
        }
    }

    private AttentionItem Item(int index, int segment, int segments, int head, int heads)
    {
        AttentionRows group = _groups[index];
        int tokens = group.IsCut ? Math.Min(ContextSegments.Begin(segment + segments), group.Visible) - ContextSegments.Begin(segment) : group.Visible;
        int queries = group.Rows * heads;
        int filled = (queries + lanes - 1) / lanes * lanes;
        return new AttentionItem(index, segment, segments, head, heads, (long)tokens * ((CostOfQuery * queries) + (CostOfLane * filled) + CostOfToken));
    }

    private bool Fits(in AttentionItem item) => _loads.TryPeek(out _, out long least) && least + item.Cost <= _mostLoad;

    private bool TryCut(int index)
    {
        AttentionRows group = _groups[index];
        int segments = ContextSegments.Count(group.Visible);
        long parts = (long)segments * group.Rows * shape.HeadCount;
        if (segments == 1 || (PartCount + parts) * AttentionPart.Width(shape.KeyValueLoraRank) * sizeof(float) > _mostPartBytes)
        {
            return false;
        }

        _groups[index] = group with { Segments = segments, FirstPart = PartCount };
        PartCount += parts;
        AddItems(index, _cut);
        return true;
    }

    /// <summary>Gives the sums of segments, then halves of what no thread could take, then halves of those.</summary>
    private void GiveCut()
    {
        while (_cut.Count > 0)
        {
            (_ungiven, _cut) = (_cut, _ungiven);
            _cut.Clear();
            foreach (AttentionItem item in _ungiven)
            {
                Give(item);
            }
        }

        _ungiven.Clear();
    }

    /// <summary>To the thread that has the least to do; in halves, and later, where that would be too much.</summary>
    private void Give(in AttentionItem item)
    {
        if (item.Segments > 1 && !Fits(item))
        {
            int half = item.Segments / 2;
            _cut.Add(Item(item.Group, item.Segment, half, item.Head, item.Heads));
            if (item.Segment + half < _groups[item.Group].Segments)
            {
                _cut.Add(Item(item.Group, item.Segment + half, half, item.Head, item.Heads));
            }

            return;
        }

        // Less than a vector of queries takes as long.
        if (item.Heads > LatentAttention.HeadGroup && item.Heads * _groups[item.Group].Rows > lanes && !Fits(item))
        {
            int half = Math.Max(item.Heads / 2 / LatentAttention.HeadGroup, 1) * LatentAttention.HeadGroup;
            _cut.Add(Item(item.Group, item.Segment, item.Segments, item.Head, half));
            _cut.Add(Item(item.Group, item.Segment, item.Segments, item.Head + half, item.Heads - half));
            return;
        }

        _loads.TryPeek(out int thread, out long least);
        _given.Add((thread, item));
        _loads.DequeueEnqueue(thread, least + item.Cost);
        _end = Math.Max(_end, least + item.Cost);
    }

    private void Share(int threads)
    {
        Span<(int Thread, AttentionItem Item)> given = CollectionsMarshal.AsSpan(_given);
        given.Sort(s_byThread);
        if (_items.Length < given.Length)
        {
            _items = new AttentionItem[2 * given.Length];
        }

        if (_shareEnds.Length != threads)
        {
            _shareEnds = new int[threads];
        }

        for (int i = 0, thread = 0; thread < threads; thread++)
        {
            for (; i < given.Length && given[i].Thread == thread; i++)
            {
                _items[i] = given[i].Item;
            }

            _shareEnds[thread] = i;
        }
    }
}
