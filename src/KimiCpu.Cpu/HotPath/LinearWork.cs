// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>Linear layers as one run of the pool: blocks of output rows, of up to three layers side by side.</summary>
internal sealed unsafe class LinearWork : IPoolWork
{
    private const int MaxLayers = 3;

    private readonly WorkerPool _pool;
    private readonly Layer[] _layers = new Layer[MaxLayers];
    private int _count;
    private int _tokens;
    private int _blockRows;

    public LinearWork(WorkerPool pool) => _pool = pool;

    /// <summary>Adds a layer to the next run.</summary>
    /// <param name="weight">(rows, columns).</param>
    /// <param name="x">(tokens, columns), dense.</param>
    /// <param name="y">(tokens, rows), dense.</param>
    public LinearWork Add(in WeightMatrix weight, float* x, float* y)
    {
        _layers[_count++] = new Layer { Weight = weight, X = x, Y = y };
        return this;
    }

    /// <summary>Runs what was added.</summary>
    public void Run(int tokens)
    {
        _tokens = tokens;
        int rows = 0;
        for (int i = 0; i < _count; i++)
        {
            rows += _layers[i].Weight.Rows;
        }

        // Small enough to share a tail evenly, large enough to be worth taking.
        _blockRows = Math.Clamp(rows / (_pool.Threads * 16), 4, 32);
        int items = 0;
        for (int i = 0; i < _count; i++)
        {
            _layers[i].FirstItem = items;
            items += (_layers[i].Weight.Rows + _blockRows - 1) / _blockRows;
        }

        _pool.Run(items, this);
        _count = 0;
    }

    public void Execute(int begin, int end, int worker)
    {
        for (int i = _count - 1; i >= 0 && begin < end; i--)
        {
            ref Layer layer = ref _layers[i];
            int first = Math.Max(begin, layer.FirstItem) - layer.FirstItem;
            int last = end - layer.FirstItem;
            if (last <= first)
            {
                continue;
            }

            int rows = layer.Weight.Rows;
            FloatGemv.Multiply(
                layer.Weight, first * _blockRows, Math.Min(last * _blockRows, rows), layer.X, layer.Weight.Columns, _tokens, layer.Y, rows);
            end = Math.Min(end, layer.FirstItem);
        }
    }

    private struct Layer
    {
        public WeightMatrix Weight;
        public float* X;
        public float* Y;
        public int FirstItem;
    }
}
