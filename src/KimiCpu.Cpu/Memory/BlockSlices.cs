// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// Slices of a buffer's blocks, one slice after another, in each of which every node has blocks of its own part of the buffer: whatever the slices'
/// sizes, a block belongs to one node, whose memory it lies in since that node wrote it. With one node the blocks of a slice lie one behind another.
/// </summary>
internal sealed class BlockSlices(WorkerPool pool, int blocks)
{
    private readonly int[] _parts = new int[pool.NodeCount];
    private readonly int[] _nodeEnds = new int[pool.NodeCount];

    /// <summary>What to add to an item's number on each node to get its block.</summary>
    private readonly int[] _offsets = new int[pool.NodeCount];

    /// <summary>Behind each node's last item of the slice.</summary>
    public ReadOnlySpan<int> NodeEnds => _nodeEnds;

    /// <param name="first">Blocks in the slices before.</param>
    /// <param name="count">In this one, or nearly as many: each node's share is rounded, and over all slices every block comes once.</param>
    public void Cut(int first, int count)
    {
        pool.CutByNode(blocks, _parts);
        int part = 0;
        int items = 0;
        for (int node = 0; node < _parts.Length; node++)
        {
            long size = _parts[node] - part;
            int begin = part + (int)(size * first / blocks);
            int end = part + (int)(size * (first + count) / blocks);
            _offsets[node] = begin - items;
            items += end - begin;
            _nodeEnds[node] = items;
            part = _parts[node];
        }
    }

    /// <summary>The block of an item, and how many of the items up to an end, from this one on, have blocks one behind another.</summary>
    public (int Block, int Count) Stretch(int item, int end)
    {
        int node = 0;
        while (item >= _nodeEnds[node])
        {
            node++;
        }

        return (item + _offsets[node], Math.Min(end, _nodeEnds[node]) - item);
    }
}
