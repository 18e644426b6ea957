// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Linear layers as one run of the pool: blocks of output rows, of up to three layers side by side. Each layer is cut among the nodes for itself, as where a copy of
/// its weights was written, so that its rows belong to the same node whatever runs beside it. Where blocks are few beside the threads each meets the tokens in bands.
/// </summary>
internal sealed unsafe class LinearWork : IPoolWork, IDisposable
{
    private const int MaxLayers = 3;

    /// <summary>A band is a multiple of so many tokens, for which products in single precision read BF16 weights anew anyway; those of FP8 decode rows anew for up to twice as many.</summary>
    private const int BandTokens = 48;

    /// <summary>Fewer items for each thread, and some would wait long for the last ones.</summary>
    private const int ItemsOfThread = 4;

    /// <summary>Rows of an item that meets too few tokens for bands, where there would be more threads than items: of the router, whose products are of no fixed number of rows.</summary>
    private const int FewRows = 8;

    private readonly WorkerPool _pool;
    private readonly StoredProducts _stored;
    private readonly TiledRows[] _rounded;

    /// <summary>Empty where BF16 weights take single-precision input.</summary>
    private readonly BFloat16Rows[] _roundedToBFloat16;
    private readonly AlignedBuffer<float>[] _tileOutput;
    private readonly Layer[] _layers = new Layer[MaxLayers];
    private readonly int[] _layerEnds;
    private readonly int[] _nodeEnds;

    /// <summary>What is run, by rising place: for each node its part of each layer.</summary>
    private readonly Part[] _parts;
    private int _count;
    private int _partCount;
    private int _tokens;
    private int _bandTokens;
    private int _bands;

    /// <param name="pool">Runs the layers.</param>
    /// <param name="kernel">For 8-bit copies, and BF16 and FP8 weights where it can.</param>
    /// <param name="precision">Whether the input of BF16 and FP8 weights may be rounded to BF16.</param>
    public LinearWork(WorkerPool pool, TileKernel kernel, ComputePrecision precision)
    {
        _pool = pool;
        _stored = new StoredProducts(kernel, precision);
        BFloat16Products? products = precision == ComputePrecision.Fast ? kernel.BFloat16Products : null;
        _roundedToBFloat16 = products is null ? [] : [.. Enumerable.Range(0, MaxLayers).Select(_ => new BFloat16Rows(pool, products))];
        _rounded = [.. Enumerable.Range(0, MaxLayers).Select(_ => new TiledRows(pool, kernel))];
        _tileOutput = [.. Enumerable.Range(0, pool.Threads).Select(_ => new AlignedBuffer<float>())];
        _layerEnds = new int[pool.NodeCount];
        _nodeEnds = new int[pool.NodeCount];
        _parts = new Part[pool.NodeCount * MaxLayers];
    }

    /// <inheritdoc/>
    public bool ReadsInStretches => _tokens == 1;

    /// <summary>That the last run was divided into, for tests.</summary>
    public int Items => _nodeEnds[^1];

    /// <summary>Adds a layer to the next run.</summary>
    /// <param name="weight">(rows, columns).</param>
    /// <param name="x">(tokens, columns), dense.</param>
    /// <param name="y">(tokens, rows), dense.</param>
    /// <param name="exactInput">Whether the input of stored weights stays in single precision even where it may be rounded.</param>
    public LinearWork Add(in HotMatrix weight, float* x, float* y, bool exactInput = false)
    {
        _layers[_count++] = new Layer
        {
            Weight = weight,
            X = x,
            Y = y,
            HasExactInput = exactInput,
            IsRoundedToBFloat16 = _roundedToBFloat16.Length > 0 && !exactInput && weight.IsBFloat16,
        };
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
        for (int i = _partCount - 1; i >= 0 && begin < end; i--)
        {
            Part part = _parts[i];
            int first = Math.Max(begin, part.FirstPlace);
            if (first < end)
            {
                int offset = part.FirstItem - part.FirstPlace;
                Multiply(_layers[part.Layer], first + offset, end + offset, worker);
                end = first;
            }
        }
    }

    public void Dispose()
    {
        Array.ForEach(_rounded, r => r.Dispose());
        Array.ForEach(_roundedToBFloat16, r => r.Dispose());
        Array.ForEach(_tileOutput, o => o.Dispose());
    }

    private void RunLayers(int tokens)
    {
        _tokens = tokens;
        int blocks = 0;
        for (int i = 0; i < _count; i++)
        {
            ref Layer layer = ref _layers[i];
            layer.BlockRows = RowsOfBlock(layer);
            blocks += layer.Blocks;
        }

        Band(blocks);
        for (int i = 0; i < _count; i++)
        {
            Round(i);
        }

        foreach (AlignedBuffer<float> output in _tileOutput)
        {
            output.EnsureCapacity((long)tokens * WeightTile.Rows);
        }

        Divide();
        _pool.Run(_nodeEnds, this);
    }

    private int RowsOfBlock(in Layer layer)
    {
        if (layer.Weight.Is8Bit)
        {
            return WeightTile.Rows;
        }

        int rows = _stored.RowsOfItem(layer.Weight.Stored, _tokens);
        bool few = layer.HasExactInput && _tokens is > 1 and < 2 * BandTokens && layer.Weight.Rows < rows * _pool.ActiveThreads;
        return few ? FewRows : rows;
    }

    /// <summary>Cuts tokens into as many bands as make enough items of so many blocks. One thread waits for nobody, and takes blocks together.</summary>
    private void Band(int blocks)
    {
        int items = _pool.ActiveThreads == 1 ? 1 : ItemsOfThread * _pool.ActiveThreads;
        int wanted = Math.Max(1, (items + blocks - 1) / Math.Max(blocks, 1));
        int even = (_tokens + wanted - 1) / wanted;
        _bandTokens = Math.Min(_tokens, (even + BandTokens - 1) / BandTokens * BandTokens);
        _bands = (_tokens + _bandTokens - 1) / _bandTokens;
    }

    private void Divide()
    {
        for (int i = 0; i < _count; i++)
        {
            ref Layer layer = ref _layers[i];
            _pool.CutByNode(layer.Blocks, _layerEnds);
            for (int node = 0; node < _layerEnds.Length; node++)
            {
                int firstBlock = node == 0 ? 0 : _layerEnds[node - 1];
                _parts[(node * _count) + i] = new Part { Layer = i, FirstItem = firstBlock * _bands, Items = (_layerEnds[node] - firstBlock) * _bands };
            }
        }

        _partCount = _layerEnds.Length * _count;
        int places = 0;
        for (int p = 0; p < _partCount; p++)
        {
            _parts[p].FirstPlace = places;
            places += _parts[p].Items;
            _nodeEnds[p / _count] = places;
        }
    }

    /// <summary>Items of a layer: blocks of rows, each by one band after another.</summary>
    private void Multiply(in Layer layer, int first, int last, int worker)
    {
        if (_bands == 1)
        {
            Multiply(layer, first, last, 0, worker);
            return;
        }

        for (int item = first; item < last; item++)
        {
            (int block, int band) = Math.DivRem(item, _bands);
            Multiply(layer, block, block + 1, band, worker);
        }
    }

    /// <summary>Some blocks by the tokens of a band.</summary>
    private void Multiply(in Layer layer, int first, int last, int band, int worker)
    {
        int rows = layer.Weight.Rows;
        int firstRow = first * layer.BlockRows;
        int lastRow = Math.Min(last * layer.BlockRows, rows);
        if (layer.Weight.Is8Bit)
        {
            Tiles(layer, first, last, band, worker);
            return;
        }

        int columns = layer.Weight.Columns;
        int firstToken = band * _bandTokens;
        int tokens = Math.Min(_bandTokens, _tokens - firstToken);
        float* x = layer.X + ((long)firstToken * columns);
        float* y = layer.Y + ((long)firstToken * rows);
        if (layer.IsRoundedToBFloat16)
        {
            layer.RoundedToBFloat16.Multiply(layer.Weight, firstRow, lastRow, y, rows, band);
        }
        else if (layer.HasExactInput)
        {
            FloatGemv.Multiply(layer.Weight.Stored, firstRow, lastRow, x, columns, tokens, y, rows);
        }
        else
        {
            _stored.Multiply(layer.Weight.Stored, firstRow, lastRow, x, columns, tokens, y, rows);
        }
    }

    /// <summary>Rounds the input of a layer, once for all layers that round the same input to the same kind.</summary>
    private void Round(int index)
    {
        ref Layer layer = ref _layers[index];
        if (!layer.Weight.Is8Bit && !layer.IsRoundedToBFloat16)
        {
            return;
        }

        for (int i = 0; i < index; i++)
        {
            ref Layer other = ref _layers[i];
            if (other.X == layer.X && other.Weight.Is8Bit == layer.Weight.Is8Bit && other.IsRoundedToBFloat16 == layer.IsRoundedToBFloat16)
            {
                layer.Rounded = other.Rounded;
                layer.RoundedToBFloat16 = other.RoundedToBFloat16;
                return;
            }
        }

        if (layer.Weight.Is8Bit)
        {
            layer.Rounded = _rounded[index];
            layer.Rounded.Set(layer.X, _tokens, layer.Weight.Columns);
            return;
        }

        layer.RoundedToBFloat16 = _roundedToBFloat16[index];
        layer.RoundedToBFloat16.Set(layer.X, _tokens, layer.Weight.Columns, _bandTokens);
    }

    private void Tiles(in Layer layer, int first, int last, int band, int worker)
    {
        int rows = layer.Weight.Rows;
        long tileBytes = WeightTile.Bytes(layer.Weight.Columns);
        (int firstToken, int lastToken) = layer.Rounded.Band(band, _bands);
        float* y = layer.Y + ((long)firstToken * rows);
        for (int tile = first; tile < last; tile++)
        {
            int row = tile * WeightTile.Rows;
            byte* weights = layer.Weight.Tiles + (tile * tileBytes);
            if (row + WeightTile.Rows <= rows)
            {
                layer.Rounded.Multiply(weights, firstToken, lastToken, y + row, rows, worker);
                continue;
            }

            float* block = _tileOutput[worker].Pointer;
            layer.Rounded.Multiply(weights, firstToken, lastToken, block, WeightTile.Rows, worker);
            for (int t = 0; t < lastToken - firstToken; t++)
            {
                new ReadOnlySpan<float>(block + (t * WeightTile.Rows), rows - row).CopyTo(new Span<float>(y + ((long)t * rows) + row, rows - row));
            }
        }
    }

    private struct Layer
    {
        public HotMatrix Weight;
        public float* X;
        public float* Y;
        public int BlockRows;
        public TiledRows Rounded;
        public bool HasExactInput;
        public bool IsRoundedToBFloat16;
        public BFloat16Rows RoundedToBFloat16;

        public readonly int Blocks => (Weight.Rows + BlockRows - 1) / BlockRows;
    }

    /// <summary>A node's items of a layer, side by side.</summary>
    private struct Part
    {
        public int Layer;
        public int FirstItem;
        public int Items;
        public int FirstPlace;
    }
}
