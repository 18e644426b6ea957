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
/// With several tokens items take unequally long: one of the shared expert has all tokens, those of a routed one its own. A node's places are then divided among its
/// workers by what they cost, or whoever has the first ones would compute the shared expert alone while all others wait.
/// </summary>
internal sealed class ExpertSlices
{
    private readonly WorkerPool _pool;
    private readonly int[] _nodeEnds;
    private readonly int[] _sharedEnds;
    private readonly int[] _blockEnds;
    private readonly int[] _shareEnds;
    private int _sharedItems;
    private int _blocks;

    public ExpertSlices(WorkerPool pool)
    {
        _pool = pool;
        _nodeEnds = new int[pool.NodeCount];
        _sharedEnds = new int[pool.NodeCount];
        _blockEnds = new int[pool.NodeCount];
        _shareEnds = new int[pool.Threads];
    }

    /// <summary>Behind each node's last place.</summary>
    public ReadOnlySpan<int> NodeEnds => _nodeEnds;

    /// <summary>Behind each worker's last place; valid after <see cref="Divide"/>.</summary>
    public ReadOnlySpan<int> ShareEnds => _shareEnds;

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

    /// <summary>Divides each node's places among its active workers, so that the shares cost about the same.</summary>
    /// <param name="sharedCost">Of an item of the shared expert; at least 1.</param>
    /// <param name="costs">Of an item of each routed expert, in their order; each at least 1.</param>
    public void Divide(long sharedCost, ReadOnlySpan<long> costs)
    {
        long routedCost = 0;
        foreach (long cost in costs)
        {
            routedCost += cost;
        }

        for (int n = 0, place = 0; n < _nodeEnds.Length; n++)
        {
            int shared = _sharedEnds[n] - EndOf(_sharedEnds, n - 1);
            int blocks = _blockEnds[n] - EndOf(_blockEnds, n - 1);
            (int first, int count) = _pool.ActiveOf(n);

            // Those who are not active have none; later nodes' workers get their own.
            _shareEnds.AsSpan(first).Fill(_nodeEnds[n]);
            var shares = new Shares(_shareEnds.AsSpan(first, count), (shared * sharedCost) + (blocks * routedCost), place);
            shares.Add(shared, sharedCost);
            foreach (long cost in costs)
            {
                shares.Add(blocks, cost);
            }

            place = _nodeEnds[n];
        }
    }

    private static int EndOf(int[] ends, int node) => node < 0 ? 0 : ends[node];

    /// <summary>The shares of a node's workers, which end one after another as places pass by.</summary>
    private ref struct Shares(Span<int> ends, long total, int place)
    {
        private readonly Span<int> _ends = ends;
        private int _ended;
        private int _place = place;
        private long _passed;

        /// <summary>Places that cost the same. A share ends at the place that is nearest to its part of all costs.</summary>
        public void Add(int places, long cost)
        {
            while (places > 0 && _ended < _ends.Length)
            {
                long due = (total * (_ended + 1) / _ends.Length) - _passed;
                if (due > places * cost)
                {
                    break;
                }

                _ends[_ended++] = _place + (int)((due + (cost / 2)) / cost);
            }

            _passed += places * cost;
            _place += places;
        }
    }
}
