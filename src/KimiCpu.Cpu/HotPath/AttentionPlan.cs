// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>Consecutive rows of a sequence that pass over its context together, and how many items of work that is.</summary>
/// <param name="Row">The first, in the batch.</param>
/// <param name="Rows">1 … <see cref="LatentAttention.RowGroup"/>.</param>
/// <param name="Sequence">Index of theirs.</param>
/// <param name="Visible">Tokens that the last row sees.</param>
internal readonly record struct AttentionRows(int Row, int Rows, int Sequence, int Visible)
{
    /// <summary>Heads of an item; the last one may have fewer.</summary>
    public int Heads { get; init; }

    /// <summary>Segments that are attended to apart; 1 where the context is not cut.</summary>
    public int Segments { get; init; }

    public int FirstItem { get; init; }

    /// <summary>Where its parts, (segments, rows, heads), begin; none where the context is not cut.</summary>
    public long FirstPart { get; init; }

    public bool IsCut => Segments > 1;
}

/// <summary>
/// Cuts the attention of a batch into items of work: groups of heads for some consecutive rows of a sequence, and those for a segment of its context
/// where the whole of it would keep one thread busy when the others are done with everything else. So few long contexts occupy all
/// threads, by themselves and beside prompts. How work is cut changes no result (see <see cref="LatentAttention"/>), so it may depend on the threads and on the company.
/// </summary>
/// <param name="shape">Sizes.</param>
/// <param name="lanes">Queries that take not much longer together than half of them.</param>
internal sealed class AttentionPlan(ModelShape shape, int lanes)
{
    /// <summary>What parts may take. Where they would take more, there are many long contexts, and the longest of them are cut, or none where all are alike.</summary>
    public const long MostPartBytes = 64L << 20;

    /// <summary>Items a thread, where contexts are cut and heads fill lanes: the last segment of each is a short one.</summary>
    private const int ItemsOfThread = 2;

    private readonly List<AttentionRows> _groups = [];
    private int _threads;

    /// <summary>Queries times the tokens that they see, of all rows.</summary>
    private long _work;

    /// <summary>In the batch's order.</summary>
    public ReadOnlySpan<AttentionRows> Groups => CollectionsMarshal.AsSpan(_groups);

    public int ItemCount { get; private set; }

    /// <summary>An <see cref="AttentionPart"/> a segment, row and head of contexts that are cut.</summary>
    public long PartCount { get; private set; }

    /// <summary>Cuts a batch.</summary>
    /// <param name="batch">Its sequences.</param>
    /// <param name="tooManyRows">Sequences with so many new tokens are left to somebody else.</param>
    /// <param name="threads">That share the work.</param>
    public void Make(RaggedBatch batch, int tooManyRows, int threads)
    {
        _threads = threads;
        _work = 0;
        ItemCount = 0;
        PartCount = 0;
        _groups.Clear();
        for (int s = 0; s < batch.Sequences.Length; s++)
        {
            BatchSequence sequence = batch.Sequences[s];
            for (int row = 0; row < sequence.RowCount && sequence.RowCount < tooManyRows; row += LatentAttention.RowGroup)
            {
                int rows = Math.Min(LatentAttention.RowGroup, sequence.RowCount - row);
                int visible = sequence.Start + row + rows;
                _work += (long)rows * shape.HeadCount * visible;
                _groups.Add(new AttentionRows(sequence.FirstRow + row, rows, s, visible));
            }
        }

        long longest = MostWorkOfItem();
        foreach (ref AttentionRows group in CollectionsMarshal.AsSpan(_groups))
        {
            group = Cut(group, longest);
        }
    }

    /// <summary>Groups of heads that share a group's work, or that of a segment.</summary>
    public int HeadGroups(in AttentionRows group) => (shape.HeadCount + group.Heads - 1) / group.Heads;

    private AttentionRows Cut(in AttentionRows group, long longest)
    {
        bool cut = IsTooLong(group, longest);
        AttentionRows planned = group with
        {
            Heads = cut ? HeadsOfSegment(group.Rows) : HeadsOfContext(group),
            Segments = cut ? LatentAttention.SegmentsOf(group.Visible) : 1,
            FirstItem = ItemCount,
            FirstPart = PartCount,
        };
        ItemCount += HeadGroups(planned) * planned.Segments;
        PartCount += cut ? PartsOf(group) : 0;
        return planned;
    }

    /// <summary>An item's part of all work, or more of it where what is longer would be too much to cut.</summary>
    private long MostWorkOfItem()
    {
        long longest = _threads == 1 ? long.MaxValue : Math.Max(1, _work / (ItemsOfThread * _threads));
        while (PartBytes(longest) > MostPartBytes)
        {
            longest *= 2;
        }

        return longest;
    }

    private long PartBytes(long longest)
    {
        long parts = 0;
        foreach (AttentionRows group in Groups)
        {
            parts += IsTooLong(group, longest) ? PartsOf(group) : 0;
        }

        return parts * AttentionPart.Width(shape.KeyValueLoraRank) * sizeof(float);
    }

    private long PartsOf(in AttentionRows group) => (long)LatentAttention.SegmentsOf(group.Visible) * group.Rows * shape.HeadCount;

    /// <summary>Whether as many heads as pass over a context together would be a longer item, and there is something to cut.</summary>
    private bool IsTooLong(in AttentionRows group, long longest) =>
        group.Visible > LatentAttention.SegmentTokens && (long)group.Rows * Math.Min(shape.HeadCount, MostHeads(group.Rows)) * group.Visible > longest;

    /// <summary>As many heads as leave each thread an item, since a page is read, and widened or paired, once for all of them.</summary>
    private int HeadsOfContext(in AttentionRows group)
    {
        long ofHead = (long)group.Rows * group.Visible * _threads;
        return HeadsTogether(group.Rows, ((_work + ofHead - 1) / ofHead) + LatentAttention.HeadGroup - 1);
    }

    /// <summary>The same for several items a thread, if there can be so many; but as many as lanes, while each thread has an item.</summary>
    private int HeadsOfSegment(int rows)
    {
        long ofThread = _work / ((long)rows * LatentAttention.SegmentTokens * _threads);
        return HeadsTogether(rows, Math.Max(ofThread / ItemsOfThread, Math.Min(ofThread, lanes / rows)));
    }

    private static int HeadsTogether(int rows, long most) =>
        (int)Math.Clamp(most / LatentAttention.HeadGroup * LatentAttention.HeadGroup, LatentAttention.HeadGroup, MostHeads(rows));

    private static int MostHeads(int rows) => LatentAttention.MostQueries / rows / LatentAttention.HeadGroup * LatentAttention.HeadGroup;
}
