// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// The order of the gate and up items of a batch: node by node, and for each node its part of the shared expert's rows and
/// then, expert by expert, its part of the intermediate rows. The same rows of an expert belong to the same node whatever
/// else is chosen, so the pages of the mapping lie in the memory of the node whose threads first touched them and keep
/// reading them. Down is cut by output rows instead of by the same intermediate rows as columns: all that crosses nodes then
/// is the small intermediate vector, there are no partial sums, and the bits do not depend on the number of nodes.
/// With one node the order is that of the items' numbers.
/// </summary>
internal sealed class ExpertSlices
{
    private readonly WorkerPool _pool;
    private readonly int[] _nodeEnds;
    private readonly int[] _sharedEnds;
    private readonly int[] _blockEnds;
    private int _sharedItems;
    private int _blocks;

    public ExpertSlices(WorkerPool pool)
    {
        _pool = pool;
        _nodeEnds = new int[pool.NodeCount];
        _sharedEnds = new int[pool.NodeCount];
        _blockEnds = new int[pool.NodeCount];
    }

    /// <summary>Behind each node's last place.</summary>
    public ReadOnlySpan<int> NodeEnds => _nodeEnds;

    /// <summary>The item at a place: those of the shared expert have the numbers 0 … sharedItems - 1, behind them come the routed experts', each expert's blocks by rising row.</summary>
    public int this[int place]
    {
        get
        {
            if (_nodeEnds.Length == 1)
            {
                return place;
            }

            int node = 0;
            while (place >= _nodeEnds[node])
            {
                node++;
            }

            int before = node - 1;
            int offset = place - EndOf(_nodeEnds, before);
            int firstShared = EndOf(_sharedEnds, before);
            int shared = _sharedEnds[node] - firstShared;
            if (offset < shared)
            {
                return firstShared + offset;
            }

            offset -= shared;
            int firstBlock = EndOf(_blockEnds, before);
            int blocks = _blockEnds[node] - firstBlock;
            return _sharedItems + (offset / blocks * _blocks) + firstBlock + (offset % blocks);
        }
    }

    /// <param name="sharedItems">Of the shared expert.</param>
    /// <param name="experts">Routed experts that were chosen.</param>
    /// <param name="routedItems">Blocks of all of them together, of each the same number.</param>
    public void Build(int sharedItems, int experts, int routedItems)
    {
        _sharedItems = sharedItems;
        _blocks = experts > 0 ? routedItems / experts : 0;
        _pool.CutByNode(sharedItems, _sharedEnds);
        _pool.CutByNode(_blocks, _blockEnds);
        for (int n = 0; n < _nodeEnds.Length; n++)
        {
            _nodeEnds[n] = _sharedEnds[n] + (experts * _blockEnds[n]);
        }
    }

    private static int EndOf(int[] ends, int node) => node < 0 ? 0 : ends[node];
}
