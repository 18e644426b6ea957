// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The routed experts, from wherever the store has them. Tokens are grouped by expert, so that a batch reads an expert once;
/// a token's hidden row is rounded once for all its experts; a token's sum runs over its experts by rising id, whatever
/// else is in the batch and in whatever order the experts come in. A shared expert on the CPU joins both passes and is added
/// last. Those that pass through another device come from the same place, and are handed over as they come in.
/// </summary>
internal sealed unsafe class CpuRoutedExperts : IRoutedExperts
{
    /// <summary>
    /// While a block of an INT4 expert's rows is read it is multiplied with about so many tokens: three at the 30 GB/s of a core that has the memory for itself, twelve at the 8 of one among 64.
    /// An estimate is enough, since workers that are done take items of the others.
    /// </summary>
    private const int ReadingCost = 8;

    /// <summary>Of an expert that passes.</summary>
    private const int NoGroup = -1;

    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly bool[] _integerLayers;
    private readonly ExpertGroups _groups;
    private readonly ExpertSlices _slices;
    private readonly Int4Experts _int4;
    private readonly FloatExperts _float;
    private readonly IExpertStore _store;
    private readonly int[] _ids;
    private readonly int[] _groupOf;
    private readonly int[] _ready;
    private readonly MlpWeights[] _weights;
    private readonly long[] _costs;
    private readonly NextExperts _next;
    private readonly AlignedBuffer<float>[] _sums;
    private readonly PoolAction _gateUp;
    private readonly PoolAction _down;

    private SharedExpert? _shared;
    private IExpertPasses _passes;
    private RoutedRows _rows;
    private float* _sum;
    private int _sharedItems;
    private int _firstGroup;
    private int _endGroup;
    private bool _isFirstWave;
    private bool _isLastWave;

    /// <param name="weights">Of the model.</param>
    /// <param name="pool">Runs the passes.</param>
    /// <param name="precision">How activations are rounded.</param>
    /// <param name="kernel">For experts with several tokens.</param>
    /// <param name="shared">Passes that run beside those of the routed experts; null where another device has the shared expert.</param>
    /// <param name="store">Where the experts are; stays the caller's.</param>
    public CpuRoutedExperts(ModelWeights weights, WorkerPool pool, ComputePrecision precision, TileKernel kernel, SharedExpert? shared, IExpertStore store)
    {
        _shape = weights.Shape;
        _pool = pool;
        _integerLayers = [.. weights.Layers.Select(l => precision == ComputePrecision.Fast && l.Experts.All(IsInt4))];
        _groups = new ExpertGroups(_shape);
        _slices = new ExpertSlices(pool);
        _int4 = new Int4Experts(weights, pool, kernel);
        _float = new FloatExperts(weights, pool, kernel, precision);
        _shared = shared;
        _store = store;
        _ids = new int[_shape.ExpertCount];
        _groupOf = new int[_shape.ExpertCount];
        _ready = new int[_shape.ExpertCount];
        _weights = new MlpWeights[_shape.ExpertCount];
        _costs = new long[_shape.ExpertCount];
        _next = new NextExperts(weights);
        _sums = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
        _passes = _float;
        _gateUp = new PoolAction(GateUp);
        _down = new PoolAction(Down);
    }

    public long DriveBytesRead => _store.DriveBytesRead;

    public ExpertLookups Lookups => _store.Lookups;

    /// <summary>Takes the shared experts over from another device.</summary>
    /// <param name="shared">Passes that run beside those of the routed experts from the next run on.</param>
    public void TakeOver(SharedExpert shared) => _shared = shared;

    public void Run(int layer, RoutedRows rows, Span<float> sum)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(sum.Length, rows.RowCount * _shape.HiddenSize);
        _rows = rows;

        // Where the hot path is on another device nobody else has said so.
        _pool.SuitRows(rows.RowCount);
        _gateUp.ReadsInStretches = _down.ReadsInStretches = rows.RowCount == 1;
        foreach (AlignedBuffer<float> sums in rows.RowCount > 1 ? _sums : [])
        {
            sums.EnsureCapacity((long)rows.RowCount * ExpertRuns.MostDownItems(rows.RowCount) * WeightTile.Rows);
        }

        _groups.Build(rows);
        _passes = _integerLayers[layer] ? _int4 : _float;
        int count = ListWanted();
        try
        {
            _store.Begin(layer, _ids.AsSpan(0, count));
            int end = _store.WaveEnd(0);
            _store.Request(0, end);
            if (count == 0)
            {
                // The device that has them all also has the shared expert. The store is told of the layer all the same: it tells steps apart by their layers.
                LookAhead(layer, end, count);
                sum.Clear();
                return;
            }

            _passes.Prepare(layer, rows, _groups, _weights);
            _shared?.Prepare(layer, rows);
            _sharedItems = _shared?.GateUpItems ?? 0;
            fixed (float* target = sum)
            {
                _sum = target;
                _endGroup = 0;
                for (int first = 0; first < count;)
                {
                    int next = LookAhead(layer, end, count);
                    (_isFirstWave, _isLastWave) = (first == 0, end == count);
                    RunWave(first, end);
                    (first, end) = (end, next);
                }
            }
        }
        finally
        {
            rows.Passing?.End();
            _store.End();
        }
    }

    public void Dispose()
    {
        _groups.Dispose();
        _int4.Dispose();
        _float.Dispose();
        Array.ForEach(_sums, s => s.Dispose());
    }

    private static bool IsInt4(MlpWeights expert) =>
        expert.Gate.Format == WeightFormat.Int4Group32 && expert.Up.Format == WeightFormat.Int4Group32 && expert.Down.Format == WeightFormat.Int4Group32;

    /// <summary>What the store is asked for, by rising id: experts of groups, and those that pass.</summary>
    private int ListWanted()
    {
        int count = 0;
        for (int e = 0, g = 0; g < _groups.Count || (_rows.Passing is not null && e < _shape.ExpertCount); e++)
        {
            bool isHere = g < _groups.Count && _groups[g].Expert == e;
            if (isHere || _rows.Passing?.Passes(e) == true)
            {
                (_ids[count], _groupOf[count]) = (e, isHere ? g++ : NoGroup);
                count++;
            }
        }

        return count;
    }

    /// <summary>Asks for what comes behind a wave: the next wave, or the next layer. Returns the next wave's end.</summary>
    private int LookAhead(int layer, int end, int count)
    {
        if (end < count)
        {
            int next = _store.WaveEnd(end);
            _store.Request(end, next);
            return next;
        }

        if (_next.LayerAfter(layer) is >= 0 and int later && _next.Of(_rows) is { IsEmpty: false } predicted)
        {
            _store.Expect(later, predicted);
        }

        return count;
    }

    /// <summary>Gate and up of the experts as they come in, then down of all of them.</summary>
    private void RunWave(int first, int end)
    {
        _firstGroup = _endGroup;
        while (Receive(first, end, out int count))
        {
            if (count + _sharedItems > 0)
            {
                _slices.Build(_sharedItems, count, count * _passes.GateUpItems);
                RunGateUp(count);
                _sharedItems = 0;
            }
        }

        _pool.Run(WeightTile.TilesOf(_shape.HiddenSize), _down);
        _rows.Passing?.WaitUntilTaken();
        _store.Release(first, end);
    }

    /// <summary>Waits until more of a wave are there, and hands over those that pass.</summary>
    /// <param name="first">Place of the wave's first expert.</param>
    /// <param name="end">Behind its last one.</param>
    /// <param name="count">How many groups' experts are there that were not: so many in the list of those to compute.</param>
    /// <returns>False where all of the wave were there before.</returns>
    private bool Receive(int first, int end, out int count)
    {
        long begin = _rows.Passing is null ? 0 : Stopwatch.GetTimestamp();
        int received = _store.Receive(first, end, _ready);
        _rows.Passing?.NoteWait(Stopwatch.GetTimestamp() - begin);
        count = 0;
        for (int i = 0; i < received; i++)
        {
            int place = _ready[i];
            if (_groupOf[place] == NoGroup)
            {
                _rows.Passing!.HandOver(_ids[place], _store[place]);
                continue;
            }

            _weights[_groupOf[place]] = _store[place];
            _ready[count++] = _groupOf[place];
        }

        _endGroup += count;
        return received > 0;
    }

    /// <summary>
    /// One token's items take as long as they are read. They are of about equal bytes but for those of a shared expert in tiles of 8 bits, which are twice an INT4 one's.
    /// Of several tokens a routed expert has some, and the shared one all.
    /// </summary>
    private void RunGateUp(int count)
    {
        bool isOne = _rows.RowCount == 1, isRounded = _shared is { IsRounded: true };
        if (isOne && !(isRounded && _passes == _int4))
        {
            _pool.Run(_slices.NodeEnds, _gateUp);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            _costs[i] = isOne ? 1 : Math.Max(ReadingCost, _groups[_ready[i]].PairCount);
        }

        // 8 bits are twice the bytes of 4. Wider weights are twice as many once more, and multiplied at half the rate.
        long sharedCost = isOne ? 2 : Math.Max(2 * ReadingCost, _rows.RowCount);
        _slices.Divide(_passes == _int4 && !isRounded ? 2 * sharedCost : sharedCost, _costs.AsSpan(0, count));
        _pool.RunShares(_slices.ShareEnds, _gateUp);
    }

    private void GateUp(int begin, int end, int worker)
    {
        for (int place = begin, count; place < end; place += count)
        {
            int item = _slices[place];
            bool shared = item < _sharedItems;
            (int expert, int block) = shared ? (0, item) : Math.DivRem(item - _sharedItems, _passes.GateUpItems);
            int most = Math.Min(Math.Min(end - place, ExpertRuns.MostItems), (shared ? _sharedItems : _passes.GateUpItems) - block);
            for (count = 1; count < most && _slices[place + count] == item + count;)
            {
                count++;
            }

            if (shared)
            {
                _shared!.GateUp(block, count, worker);
            }
            else
            {
                _passes.GateUp(_ready[expert], block, count, worker);
            }
        }
    }

    /// <summary>
    /// Item: a block of output rows, for all experts one after another, so that sums need no locks and keep one order. The
    /// pool cuts these blocks among the nodes the same way whatever experts are chosen.
    /// </summary>
    private void Down(int begin, int end, int worker)
    {
        int most = ExpertRuns.MostDownItems(_rows.RowCount);
        for (int item = begin; item < end; item += most)
        {
            int first = item * WeightTile.Rows;
            DownRows(first, Math.Min(Math.Min(item + most, end) * WeightTile.Rows, _shape.HiddenSize) - first, worker);
        }
    }

    /// <summary>
    /// Several tokens' sums are gathered side by side and copied once: at the stride of whole rows they would meet few sets of the second-level cache, and
    /// each expert would wait for memory again.
    /// </summary>
    private void DownRows(int first, int rows, int worker)
    {
        int tokens = _rows.RowCount;
        long size = _shape.HiddenSize;
        bool gathers = tokens > 1;
        float* sum = gathers ? _sums[worker].Pointer : _sum + first;
        if (_isFirstWave)
        {
            new Span<float>(sum, tokens * rows).Clear();
        }
        else if (gathers)
        {
            Copy(_sum + first, size, sum, rows, tokens, rows);
        }

        _passes.Down(_firstGroup, _endGroup, first, rows, sum, rows, worker);
        if (_isLastWave)
        {
            _shared?.Down(first, rows, sum, rows, worker);
        }

        if (gathers)
        {
            Copy(sum, rows, _sum + first, size, tokens, rows);
        }
    }

    private static void Copy(float* source, long sourceStride, float* target, long targetStride, int tokens, int columns)
    {
        for (long t = 0; t < tokens; t++)
        {
            new ReadOnlySpan<float>(source + (t * sourceStride), columns).CopyTo(new Span<float>(target + (t * targetStride), columns));
        }
    }
}
