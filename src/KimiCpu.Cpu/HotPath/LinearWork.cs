// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>Linear layers as one run of the pool: blocks of output rows, of up to three layers side by side.</summary>
internal sealed unsafe class LinearWork : IPoolWork, IDisposable
{
    private const int MaxLayers = 3;

    /// <summary>Rows of a block of stored weights for one token, when a block is bound by memory.</summary>
    private const int FewRows = 8;

    private readonly WorkerPool _pool;
    private readonly TiledRows[] _rounded;
    private readonly AlignedBuffer<float>[] _tileOutput;
    private readonly Layer[] _layers = new Layer[MaxLayers];
    private int _count;
    private int _tokens;

    public LinearWork(WorkerPool pool, TileKernel kernel)
    {
        _pool = pool;
        _rounded = [.. Enumerable.Range(0, MaxLayers).Select(_ => new TiledRows(pool, kernel))];
        _tileOutput = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
    }

    /// <summary>Adds a layer to the next run.</summary>
    /// <param name="weight">(rows, columns).</param>
    /// <param name="x">(tokens, columns), dense.</param>
    /// <param name="y">(tokens, rows), dense.</param>
    public LinearWork Add(in HotMatrix weight, float* x, float* y)
    {
        _layers[_count++] = new Layer { Weight = weight, X = x, Y = y };
        return this;
    }

    /// <summary>Forgets layers that were added and not run, as an exception in between leaves them.</summary>
    public void Clear() => _count = 0;

    /// <summary>Runs what was added.</summary>
    public void Run(int tokens)
    {
        try
        {
            RunLayers(tokens);
        }
        finally
        {
            Clear();
        }
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
            if (layer.Weight.Is8Bit)
            {
                Tiles(layer, first, last, worker);
            }
            else
            {
                FloatGemv.Multiply(
                    layer.Weight.Stored, first * layer.BlockRows, Math.Min(last * layer.BlockRows, rows), layer.X, layer.Weight.Columns, _tokens, layer.Y, rows);
            }

            end = Math.Min(end, layer.FirstItem);
        }
    }

    public void Dispose()
    {
        Array.ForEach(_rounded, r => r.Dispose());
        Array.ForEach(_tileOutput, o => o.Dispose());
    }

    private void RunLayers(int tokens)
    {
        _tokens = tokens;
        int items = 0;
        for (int i = 0; i < _count; i++)
        {
            ref Layer layer = ref _layers[i];
            layer.BlockRows = layer.Weight.Is8Bit || tokens > 1 ? WeightTile.Rows : FewRows;
            layer.FirstItem = items;
            items += (layer.Weight.Rows + layer.BlockRows - 1) / layer.BlockRows;
            Round(i);
        }

        foreach (AlignedBuffer<float> output in _tileOutput)
        {
            output.EnsureCapacity((long)tokens * WeightTile.Rows);
        }

        _pool.Run(items, this);
    }

    /// <summary>Rounds the input of a layer of 8 bits, once for all layers that share it.</summary>
    private void Round(int index)
    {
        ref Layer layer = ref _layers[index];
        if (!layer.Weight.Is8Bit)
        {
            return;
        }

        for (int i = 0; i < index; i++)
        {
            if (_layers[i].Weight.Is8Bit && _layers[i].X == layer.X)
            {
                layer.Rounded = _layers[i].Rounded;
                return;
            }
        }

        layer.Rounded = _rounded[index];
        layer.Rounded.Set(layer.X, _tokens, layer.Weight.Columns);
    }

    private void Tiles(in Layer layer, int first, int last, int worker)
    {
        int rows = layer.Weight.Rows;
        long tileBytes = WeightTile.Bytes(layer.Weight.Columns);
        for (int tile = first; tile < last; tile++)
        {
            int row = tile * WeightTile.Rows;
            byte* weights = layer.Weight.Tiles + (tile * tileBytes);
            if (row + WeightTile.Rows <= rows)
            {
                layer.Rounded.Multiply(weights, layer.Y + row, rows, worker);
                continue;
            }

            float* block = _tileOutput[worker].Pointer;
            layer.Rounded.Multiply(weights, block, WeightTile.Rows, worker);
            for (int t = 0; t < _tokens; t++)
            {
                new ReadOnlySpan<float>(block + (t * WeightTile.Rows), rows - row).CopyTo(new Span<float>(layer.Y + ((long)t * rows) + row, rows - row));
            }
        }
    }

    private struct Layer
    {
        public HotMatrix Weight;
        public float* X;
        public float* Y;
        public int FirstItem;
        public int BlockRows;
        public TiledRows Rounded;
    }
}
