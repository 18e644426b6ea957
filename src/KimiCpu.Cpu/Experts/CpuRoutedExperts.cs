// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;
using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// The routed experts from the checkpoint's mapping. Tokens are grouped by expert, so that a batch reads an expert once;
/// a token's hidden row is rounded once for all its experts; a token's sum runs over its experts by rising id, whatever
/// else is in the batch. Two parallel phases hold the weights: gate and up, then down.
/// </summary>
internal sealed unsafe class CpuRoutedExperts : IRoutedExperts
{
    /// <summary>Output rows of one work item; 64 rows of 7168 INT4 columns are 258 KB, enough for the hardware to stream.</summary>
    private const int RowBlock = 64;

    private readonly ModelWeights _weights;
    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly bool[] _integerLayers;
    private readonly ExpertGroups _groups;
    private readonly QuantizedRows _quantizedHidden = new();
    private readonly QuantizedRows _quantizedInner = new();
    private readonly AlignedBuffer<float> _gate = new();
    private readonly AlignedBuffer<float> _up = new();
    private readonly AlignedBuffer<float> _gathered = new();
    private readonly AlignedBuffer<float>[] _scratch;
    private readonly PoolAction _quantize;
    private readonly PoolAction _gateUp;
    private readonly PoolAction _roundInner;
    private readonly PoolAction _down;

    private LayerWeights _layer = null!;
    private RoutedRows _rows;
    private float* _sum;
    private bool _integer;

    public CpuRoutedExperts(ModelWeights weights, WorkerPool pool, ComputePrecision precision)
    {
        _weights = weights;
        _shape = weights.Shape;
        _pool = pool;
        _integerLayers = [.. weights.Layers.Select(l => precision == ComputePrecision.Fast && l.Experts.All(IsInt4))];
        _groups = new ExpertGroups(_shape);
        _scratch = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
        _quantize = new PoolAction(QuantizeHidden);
        _gateUp = new PoolAction(GateUp);
        _roundInner = new PoolAction(RoundInner);
        _down = new PoolAction(Down);
    }

    private int InnerBlocks => (_shape.ExpertIntermediateSize + RowBlock - 1) / RowBlock;

    private int HiddenBlocks => (_shape.HiddenSize + RowBlock - 1) / RowBlock;

    public void Run(int layer, RoutedRows rows, Span<float> sum)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(sum.Length, rows.RowCount * _shape.HiddenSize);
        _layer = _weights.Layers[layer];
        _rows = rows;
        _groups.Build(rows);
        int inner = _shape.ExpertIntermediateSize;
        _gate.EnsureCapacity((long)_groups.PairCount * inner);
        _up.EnsureCapacity((long)_groups.PairCount * inner);
        _integer = _integerLayers[layer];
        fixed (float* target = sum)
        {
            _sum = target;
            if (_integer)
            {
                _quantizedHidden.Resize(rows.RowCount, _shape.HiddenSize);
                _quantizedInner.Resize(_groups.PairCount, inner);
                _pool.Run(rows.RowCount, _quantize);
            }
            else
            {
                Gather();
            }

            _pool.Run(_groups.Count * InnerBlocks, _gateUp);
            _pool.Run(_groups.PairCount, _roundInner);
            _pool.Run(HiddenBlocks, _down);
        }
    }

    public void Dispose()
    {
        _groups.Dispose();
        _quantizedHidden.Dispose();
        _quantizedInner.Dispose();
        _gate.Dispose();
        _up.Dispose();
        _gathered.Dispose();
        Array.ForEach(_scratch, s => s.Dispose());
    }

    private static bool IsInt4(MlpWeights expert) =>
        expert.Gate.Format == WeightFormat.Int4Group32 && expert.Up.Format == WeightFormat.Int4Group32 && expert.Down.Format == WeightFormat.Int4Group32;

    private void QuantizeHidden(int begin, int end, int worker)
    {
        for (int row = begin; row < end; row++)
        {
            ActivationQuantizer.Quantize(_rows.Hidden + ((long)row * _shape.HiddenSize), _shape.HiddenSize, _quantizedHidden.Row(row));
        }
    }

    /// <summary>Float weights want the rows of an expert one after another.</summary>
    private void Gather()
    {
        int size = _shape.HiddenSize;
        float* target = _gathered.EnsureCapacity((long)_groups.PairCount * size);
        for (int pair = 0; pair < _groups.PairCount; pair++)
        {
            new ReadOnlySpan<float>(_rows.Hidden + ((long)_groups.TokenOf[pair] * size), size).CopyTo(new Span<float>(target + ((long)pair * size), size));
        }
    }

    /// <summary>Item: a block of inner rows of one expert, for all its tokens. Pairs of an expert lie side by side.</summary>
    private void GateUp(int begin, int end, int worker)
    {
        int inner = _shape.ExpertIntermediateSize;
        for (int item = begin; item < end; item++)
        {
            ExpertGroup group = _groups[item / InnerBlocks];
            MlpWeights expert = _layer.Experts[group.Expert];
            int first = item % InnerBlocks * RowBlock;
            int last = Math.Min(first + RowBlock, inner);
            long at = (long)group.FirstPair * inner;
            Multiply(expert.Gate, first, last, group, _gate.Pointer + at, inner);
            Multiply(expert.Up, first, last, group, _up.Pointer + at, inner);
        }
    }

    private void Multiply(in WeightMatrix weight, int first, int last, ExpertGroup group, float* y, long yStride)
    {
        if (_integer)
        {
            Int4Gemv.Multiply(weight, first, last, _quantizedHidden, _groups.TokenOf + group.FirstPair, group.PairCount, y, yStride);
        }
        else
        {
            FloatGemv.Multiply(weight, first, last, _gathered.Pointer + ((long)group.FirstPair * weight.Columns), weight.Columns, group.PairCount, y, yStride);
        }
    }

    /// <summary>Activation of each pair's inner row, and its rounding for the second half.</summary>
    private void RoundInner(int begin, int end, int worker)
    {
        int inner = _shape.ExpertIntermediateSize;
        float* scratch = _scratch[worker].EnsureCapacity(inner);
        for (int pair = begin; pair < end; pair++)
        {
            float* gate = _gate.Pointer + ((long)pair * inner);
            SwiGlu.Apply(new Span<float>(gate, inner), new ReadOnlySpan<float>(_up.Pointer + ((long)pair * inner), inner), new Span<float>(scratch, inner));
            if (_integer)
            {
                ActivationQuantizer.Quantize(gate, inner, _quantizedInner.Row(pair));
            }
        }
    }

    /// <summary>Item: a block of output rows, for all experts one after another, so that sums need no locks and keep one order.</summary>
    private void Down(int begin, int end, int worker)
    {
        int size = _shape.HiddenSize;
        int inner = _shape.ExpertIntermediateSize;
        float* block = _scratch[worker].EnsureCapacity(Math.Max(inner, (long)_groups.LargestPairCount * RowBlock));
        for (int item = begin; item < end; item++)
        {
            int first = item * RowBlock;
            int rows = Math.Min(RowBlock, size - first);
            for (int t = 0; t < _rows.RowCount; t++)
            {
                new Span<float>(_sum + ((long)t * size) + first, rows).Clear();
            }

            for (int g = 0; g < _groups.Count; g++)
            {
                ExpertGroup group = _groups[g];
                WeightMatrix down = _layer.Experts[group.Expert].Down;

                // The kernels write row r to y[r]; the block's first row belongs at its start.
                float* y = block - first;
                if (_integer)
                {
                    Int4Gemv.Multiply(down, first, first + rows, _quantizedInner, _groups.PairIndex + group.FirstPair, group.PairCount, y, RowBlock);
                }
                else
                {
                    FloatGemv.Multiply(down, first, first + rows, _gate.Pointer + ((long)group.FirstPair * inner), inner, group.PairCount, y, RowBlock);
                }

                for (int i = 0; i < group.PairCount; i++)
                {
                    int pair = group.FirstPair + i;
                    var target = new Span<float>(_sum + ((long)_groups.TokenOf[pair] * size) + first, rows);
                    TensorPrimitives.MultiplyAdd(new ReadOnlySpan<float>(block + (i * RowBlock), rows), _groups.WeightOf[pair], target, target);
                }
            }
        }
    }
}
