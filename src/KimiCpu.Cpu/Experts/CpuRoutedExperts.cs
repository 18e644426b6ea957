// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The routed experts from the checkpoint's mapping. Tokens are grouped by expert, so that a batch reads an expert once;
/// a token's hidden row is rounded once for all its experts; a token's sum runs over its experts by rising id, whatever
/// else is in the batch. A shared expert on the CPU joins both passes and is added last.
/// </summary>
internal sealed unsafe class CpuRoutedExperts : IRoutedExperts
{
    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly bool[] _integerLayers;
    private readonly ExpertGroups _groups;
    private readonly ExpertSlices _slices;
    private readonly Int4Experts _int4;
    private readonly FloatExperts _float;
    private readonly IExpertPasses? _shared;
    private readonly PoolAction _gateUp;
    private readonly PoolAction _down;

    private IExpertPasses _passes;
    private RoutedRows _rows;
    private float* _sum;
    private int _sharedItems;

    /// <param name="weights">Of the model.</param>
    /// <param name="pool">Runs the passes.</param>
    /// <param name="precision">How activations are rounded.</param>
    /// <param name="kernel">For experts with several tokens.</param>
    /// <param name="shared">Passes that run beside those of the routed experts; null where another device has the shared expert.</param>
    public CpuRoutedExperts(ModelWeights weights, WorkerPool pool, ComputePrecision precision, TileKernel kernel, IExpertPasses? shared)
    {
        _shape = weights.Shape;
        _pool = pool;
        _integerLayers = [.. weights.Layers.Select(l => precision == ComputePrecision.Fast && l.Experts.All(IsInt4))];
        _groups = new ExpertGroups(_shape);
        _slices = new ExpertSlices(pool);
        _int4 = new Int4Experts(weights, pool, kernel);
        _float = new FloatExperts(weights, pool);
        _shared = shared;
        _passes = _float;
        _gateUp = new PoolAction(GateUp);
        _down = new PoolAction(Down);
    }

    public void Run(int layer, RoutedRows rows, Span<float> sum)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(sum.Length, rows.RowCount * _shape.HiddenSize);
        _rows = rows;
        _groups.Build(rows);
        _passes = _integerLayers[layer] ? _int4 : _float;
        _passes.Prepare(layer, rows, _groups);
        _shared?.Prepare(layer, rows, _groups);
        _sharedItems = _shared?.GateUpItems ?? 0;
        fixed (float* target = sum)
        {
            _sum = target;
            _slices.Build(_sharedItems, _groups.Count, _passes.GateUpItems);
            _pool.Run(_slices.NodeEnds, _gateUp);
            _pool.Run(WeightTile.TilesOf(_shape.HiddenSize), _down);
        }
    }

    public void Dispose()
    {
        _groups.Dispose();
        _int4.Dispose();
        _float.Dispose();
    }

    private static bool IsInt4(MlpWeights expert) =>
        expert.Gate.Format == WeightFormat.Int4Group32 && expert.Up.Format == WeightFormat.Int4Group32 && expert.Down.Format == WeightFormat.Int4Group32;

    private void GateUp(int begin, int end, int worker)
    {
        for (int place = begin; place < end; place++)
        {
            int item = _slices[place];
            if (item < _sharedItems)
            {
                _shared!.GateUp(item, worker);
            }
            else
            {
                _passes.GateUp(item - _sharedItems, worker);
            }
        }
    }

    /// <summary>
    /// Item: a block of output rows, for all experts one after another, so that sums need no locks and keep one order. The
    /// pool cuts these blocks among the nodes the same way whatever experts are chosen.
    /// </summary>
    private void Down(int begin, int end, int worker)
    {
        int size = _shape.HiddenSize;
        for (int item = begin; item < end; item++)
        {
            int first = item * WeightTile.Rows;
            int rows = Math.Min(WeightTile.Rows, size - first);
            for (int t = 0; t < _rows.RowCount; t++)
            {
                new Span<float>(_sum + ((long)t * size) + first, rows).Clear();
            }

            _passes.Down(first, rows, _sum, worker);
            _shared?.Down(first, rows, _sum, worker);
        }
    }
}
