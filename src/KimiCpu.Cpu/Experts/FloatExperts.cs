// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The routed experts of a layer with activations in single precision, rounded for FP8 weights at most: for exact mode, and for
/// checkpoints whose experts are not INT4.
/// </summary>
internal sealed unsafe class FloatExperts : IExpertPasses
{
    private const int BlockRows = WeightTile.Rows;
    private const int MostRows = ExpertRuns.MostItems * BlockRows;

    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly StoredProducts _stored;
    private readonly PoolAction _gather;
    private readonly AlignedBuffer<float> _gathered = new();
    private readonly AlignedBuffer<float> _gate = new();
    private readonly AlignedBuffer<float> _up = new();
    private readonly AlignedBuffer<float>[] _scratch;

    private ExpertGroups _groups = null!;
    private MlpWeights[] _weights = [];
    private float* _hidden;

    /// <param name="weights">Of the model.</param>
    /// <param name="pool">Runs the passes.</param>
    /// <param name="kernel">For FP8 weights, where it can.</param>
    /// <param name="precision">Whether the input of FP8 weights may be rounded.</param>
    public FloatExperts(ModelWeights weights, WorkerPool pool, TileKernel kernel, ComputePrecision precision)
    {
        _stored = new StoredProducts(kernel, precision);
        _shape = weights.Shape;
        _pool = pool;
        _gather = new PoolAction(Gather);
        _scratch = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
    }

    public int GateUpItems => WeightTile.TilesOf(_shape.ExpertIntermediateSize);

    private bool Gathers => _groups.LargestPairCount > 1;

    /// <summary>Float kernels want the rows of an expert one after another. A single one is taken where it lies.</summary>
    public void Prepare(int layer, RoutedRows rows, ExpertGroups groups, MlpWeights[] weights)
    {
        _weights = weights;
        _groups = groups;
        _hidden = rows.Hidden;
        long inner = (long)groups.PairCount * _shape.ExpertIntermediateSize;
        _gate.EnsureCapacity(inner);
        _up.EnsureCapacity(inner);
        if (Gathers)
        {
            _gathered.EnsureCapacity((long)groups.PairCount * _shape.HiddenSize);
            _pool.Run(groups.PairCount, _gather);
        }

        foreach (AlignedBuffer<float> scratch in _scratch)
        {
            scratch.EnsureCapacity(Math.Max((long)groups.LargestPairCount * BlockRows, MostRows));
        }
    }

    public void GateUp(int index, int firstItem, int items, int worker)
    {
        int size = _shape.HiddenSize;
        int inner = _shape.ExpertIntermediateSize;
        ExpertGroup group = _groups[index];
        MlpWeights expert = _weights[index];
        int first = firstItem * BlockRows;
        int last = Math.Min(first + (items * BlockRows), inner);
        float* x = Gathers ? _gathered.Pointer + ((long)group.FirstPair * size) : _hidden + ((long)_groups.TokenOf[group.FirstPair] * size);
        long at = (long)group.FirstPair * inner;
        _stored.Multiply(expert.Gate, first, last, x, size, group.PairCount, _gate.Pointer + at, inner);
        _stored.Multiply(expert.Up, first, last, x, size, group.PairCount, _up.Pointer + at, inner);
        for (int i = 0; i < group.PairCount; i++)
        {
            long row = at + ((long)i * inner) + first;
            SwiGlu.Apply(new Span<float>(_gate.Pointer + row, last - first), new ReadOnlySpan<float>(_up.Pointer + row, last - first));
        }
    }

    public void Down(int firstGroup, int endGroup, int firstRow, int rows, float* sum, long sumStride, int worker)
    {
        int together = _groups.LargestPairCount == 1 ? rows : BlockRows;
        for (int row = 0; row < rows; row += together)
        {
            DownRows(firstGroup, endGroup, firstRow + row, Math.Min(together, rows - row), sum + row, sumStride, worker);
        }
    }

    public void Dispose()
    {
        _gathered.Dispose();
        _gate.Dispose();
        _up.Dispose();
        Array.ForEach(_scratch, s => s.Dispose());
    }

    private void Gather(int begin, int end, int worker)
    {
        int size = _shape.HiddenSize;
        for (int pair = begin; pair < end; pair++)
        {
            new ReadOnlySpan<float>(_hidden + ((long)_groups.TokenOf[pair] * size), size).CopyTo(new Span<float>(_gathered.Pointer + ((long)pair * size), size));
        }
    }

    private void DownRows(int firstGroup, int endGroup, int firstRow, int rows, float* sum, long sumStride, int worker)
    {
        int inner = _shape.ExpertIntermediateSize;
        float* block = _scratch[worker].Pointer;
        for (int g = firstGroup; g < endGroup; g++)
        {
            ExpertGroup group = _groups[g];

            // The kernel writes row r to y[r]; the first row belongs at the start of the scratch memory.
            _stored.Multiply(
                _weights[g].Down, firstRow, firstRow + rows, _gate.Pointer + ((long)group.FirstPair * inner), inner, group.PairCount, block - firstRow, rows);
            RowMath.AddScaledRows(CpuFeatures.Best, block, rows, rows, _groups.TokenOf + group.FirstPair, _groups.WeightOf + group.FirstPair, group.PairCount, sum, sumStride);
        }
    }
}
