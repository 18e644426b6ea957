// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The routed experts of a layer as INT4 times int8, for a batch grouped by expert. An expert with few tokens is multiplied
/// from the stored layout, one with more is unpacked to tiles once for all of them; both give the same bits. Two passes
/// over the weights: gate and up with activation and rounding in blocks of 32 inner rows, then down in blocks of 32 output
/// rows, each adding up all experts of its rows. Blocks of an expert that follow each other are taken together.
/// </summary>
internal sealed unsafe class Int4Experts : IExpertPasses
{
    private const int BlockRows = WeightTile.Rows;

    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly TileKernel _kernel;
    private readonly Scratch[] _scratch;
    private readonly QuantizedRows _hidden = new();
    private readonly QuantizedRows _inner = new();
    private readonly ActivationTiles _hiddenTiles = new();
    private readonly ActivationTiles _innerTiles = new();
    private readonly PoolAction _quantize;
    private readonly PoolAction _tile;

    private ExpertGroups _groups = null!;
    private MlpWeights[] _weights = [];
    private RoutedRows _rows;

    public Int4Experts(ModelWeights weights, WorkerPool pool, TileKernel kernel)
    {
        _shape = weights.Shape;
        _pool = pool;
        _kernel = kernel;
        _scratch = [.. Enumerable.Range(0, pool.Threads).Select(_ => new Scratch())];
        _quantize = new PoolAction(Quantize);
        _tile = new PoolAction(Tile);
    }

    public int GateUpItems => WeightTile.TilesOf(_shape.ExpertIntermediateSize);

    public void Prepare(int layer, RoutedRows rows, ExpertGroups groups, MlpWeights[] weights)
    {
        _weights = weights;
        _rows = rows;
        _groups = groups;
        int inner = _shape.ExpertIntermediateSize;
        _hidden.Resize(rows.RowCount, _shape.HiddenSize);
        _inner.Resize(groups.PairCount, inner);
        bool anyTiles = IsTiled(groups.LargestPairCount);
        if (anyTiles)
        {
            _hiddenTiles.Resize(groups.PairCount, _shape.HiddenSize);
            _innerTiles.Resize(groups.PairCount, inner);
        }

        foreach (Scratch scratch in _scratch)
        {
            scratch.Resize(_shape, groups.LargestPairCount, _kernel);
        }

        _pool.Run(rows.RowCount, _quantize);
        if (anyTiles)
        {
            _pool.Run(groups.Count, _tile);
        }
    }

    public void GateUp(int index, int firstItem, int items, int worker)
    {
        ExpertGroup group = _groups[index];
        if (!IsTiled(group.PairCount))
        {
            GateUpStored(group, _weights[index], firstItem, items, worker);
            return;
        }

        for (int block = firstItem; block < firstItem + items; block++)
        {
            GateUpTiled(group, _weights[index], block, worker);
        }
    }

    public void Down(int firstGroup, int endGroup, int firstRow, int rows, float* sum, long sumStride, int worker)
    {
        Scratch scratch = _scratch[worker];
        for (int g = firstGroup; g < endGroup; g++)
        {
            ExpertGroup group = _groups[g];
            if (!IsTiled(group.PairCount))
            {
                MultiplyStored(_weights[g].Down, firstRow, rows, group, _inner, scratch.Gate, g + 1 < endGroup ? _weights[g + 1].Down : default, firstRow);
                AddWeighted(group, scratch.Gate, rows, rows, sum, sumStride);
                continue;
            }

            for (int row = firstRow, end = firstRow + rows; row < end; row += BlockRows)
            {
                bool isLast = row + BlockRows >= end;
                WeightMatrix next = !isLast ? _weights[g].Down : g + 1 < endGroup ? _weights[g + 1].Down : default;
                MultiplyTiled(_weights[g].Down, row, group, _innerTiles, scratch, scratch.Gate, next, isLast ? firstRow : row + BlockRows);
                AddWeighted(group, scratch.Gate, BlockRows, Math.Min(BlockRows, end - row), sum + (row - firstRow), sumStride);
            }
        }
    }

    public void Dispose()
    {
        _hidden.Dispose();
        _inner.Dispose();
        _hiddenTiles.Dispose();
        _innerTiles.Dispose();
        Array.ForEach(_scratch, s => s.Dispose());
    }

    private void GateUpStored(ExpertGroup group, in MlpWeights expert, int firstBlock, int blocks, int worker)
    {
        Scratch scratch = _scratch[worker];
        int firstRow = firstBlock * BlockRows;
        int rows = blocks * BlockRows;
        MultiplyStored(expert.Gate, firstRow, rows, group, _hidden, scratch.Gate, expert.Up, firstRow);
        MultiplyStored(expert.Up, firstRow, rows, group, _hidden, scratch.Up, expert.Gate, firstRow + rows);
        int count = group.PairCount * rows;
        SwiGlu.Apply(new Span<float>(scratch.Gate, count), new ReadOnlySpan<float>(scratch.Up, count));
        for (int i = 0; i < group.PairCount; i++)
        {
            for (int b = 0; b < blocks; b++)
            {
                WriteInner(scratch.Gate + (i * rows) + (b * BlockRows), _inner.Row(group.FirstPair + i), firstBlock + b);
            }
        }
    }

    private void GateUpTiled(ExpertGroup group, in MlpWeights expert, int block, int worker)
    {
        int firstRow = block * BlockRows;
        Scratch scratch = _scratch[worker];
        int count = group.PairCount * BlockRows;
        MultiplyTiled(expert.Gate, firstRow, group, _hiddenTiles, scratch, scratch.Gate, expert.Up, firstRow);
        MultiplyTiled(expert.Up, firstRow, group, _hiddenTiles, scratch, scratch.Up, expert.Gate, firstRow + BlockRows, block);
        SwiGlu.Apply(new Span<float>(scratch.Gate, count), new ReadOnlySpan<float>(scratch.Up, count));
        var rounded = new QuantizedRow(scratch.Group, 1);
        for (int first = 0; first < group.PairCount;)
        {
            int tokens = _kernel.Tiles.Next(group.PairCount - first);
            for (int t = 0; t < tokens; t++)
            {
                ActivationQuantizer.QuantizeGroup(scratch.Gate + ((first + t) * BlockRows), rounded, 0);
                _innerTiles.WriteGroup(rounded, 0, block, group.FirstPair + first, tokens, t, Int4Group32.Bias);
            }

            first += tokens;
        }
    }

    /// <summary>Adds an expert's outputs, y[i * stride + r] of its pairs i, to the sums of its tokens.</summary>
    private void AddWeighted(ExpertGroup group, float* y, int stride, int rows, float* sum, long sumStride) =>
        RowMath.AddScaledRows(CpuFeatures.Best, y, stride, rows, _groups.TokenOf + group.FirstPair, _groups.WeightOf + group.FirstPair, group.PairCount, sum, sumStride);

    /// <summary>Whether an expert with so many tokens is unpacked.</summary>
    private bool IsTiled(int pairs) => pairs > _kernel.MostStoredTokens;

    private void Quantize(int begin, int end, int worker)
    {
        for (int row = begin; row < end; row++)
        {
            ActivationQuantizer.Quantize(_rows.Hidden + ((long)row * _shape.HiddenSize), _shape.HiddenSize, _hidden.Row(row));
        }
    }

    /// <summary>Item: an expert; where it is to be unpacked, copies its tokens' rows into tiles, and makes the inner tiles' padding zero.</summary>
    private void Tile(int begin, int end, int worker)
    {
        Span<QuantizedRow> rows = stackalloc QuantizedRow[_kernel.MaxTokens];
        for (int g = begin; g < end; g++)
        {
            ExpertGroup group = _groups[g];
            for (int first = 0; first < group.PairCount && IsTiled(group.PairCount);)
            {
                int tokens = _kernel.Tiles.Next(group.PairCount - first);
                int tile = group.FirstPair + first;
                for (int t = 0; t < tokens; t++)
                {
                    rows[t] = _hidden.Row(_groups.TokenOf[tile + t]);
                }

                _hiddenTiles.Write(rows[..tokens], tile, Int4Group32.Bias);
                _innerTiles.ClearFrom(GateUpItems, tile, tokens);
                first += tokens;
            }
        }
    }

    /// <summary>y[i * rows + r] of the pairs i of a group; rows behind the last are zeros. Meanwhile asks for what comes next.</summary>
    private void MultiplyStored(in WeightMatrix weight, int firstRow, int rows, ExpertGroup group, QuantizedRows activations, float* y, in WeightMatrix next, int nextRow)
    {
        bool hidden = ReferenceEquals(activations, _hidden);
        Span<QuantizedRow> x = stackalloc QuantizedRow[group.PairCount];
        for (int i = 0; i < x.Length; i++)
        {
            int pair = group.FirstPair + i;
            x[i] = activations.Row(hidden ? _groups.TokenOf[pair] : pair);
        }

        int end = Math.Min(firstRow + rows, weight.Rows);
        _kernel.MultiplyStored(weight, firstRow, end, x, y - firstRow, rows, next, nextRow);
        for (int i = 0; i < x.Length; i++)
        {
            new Span<float>(y + (i * rows) + (end - firstRow), rows - (end - firstRow)).Clear();
        }
    }

    /// <summary>
    /// y[i * 32 + r] of the pairs i of a group, for the rows of a block; rows behind the last are zeros. Meanwhile asks for
    /// the block that comes next and, where a group of inner rows is given, for the lines that it will be written to.
    /// </summary>
    private void MultiplyTiled(in WeightMatrix weight, int firstRow, ExpertGroup group, ActivationTiles tiles, Scratch scratch, float* y, in WeightMatrix next, int nextRow, int innerGroup = -1)
    {
        // Products of the block before have asked for this one.
        byte* data = weight.Data + (firstRow * weight.RowBytes);
        bool wasAsked = scratch.Ahead == data;
        TileUnpacker.Touch(weight, firstRow, Math.Min(firstRow + BlockRows, weight.Rows), wasAsked ? scratch.AheadBytes : 0, wasAsked ? scratch.AheadScaleBytes : 0);
        TileUnpacker.Unpack(weight, firstRow, scratch.Weights);
        bool isLast = next.IsEmpty || nextRow >= next.Rows;
        int groups = tiles.Blocks * LaneSum.Lanes;
        int tileCount = _kernel.Tiles.Count(group.PairCount);
        long scaleBytes = sizeof(ushort) * (long)Int4Group32.GroupsPerRow(next.Columns);
        var ahead = new TileAhead(isLast ? null : next.Data + (nextRow * next.RowBytes), BlockRows * next.RowBytes, groups, tileCount);
        var scalesAhead = new TileAhead(isLast ? null : next.Scales + (nextRow * scaleBytes), BlockRows * scaleBytes, groups, tileCount);
        scratch.Ahead = ahead.Next;
        for (int first = 0; first < group.PairCount;)
        {
            int tokens = _kernel.Tiles.Next(group.PairCount - first);
            byte* x = tiles.Tile(group.FirstPair + first);
            if (innerGroup >= 0)
            {
                _innerTiles.AskFor(innerGroup, group.FirstPair + first, tokens);
            }

            ref TileAhead asks = ref ahead;
            if (ahead.Next is null)
            {
                asks = ref scalesAhead;
            }

            _kernel.Multiply(scratch.Weights, bits8: false, x, tokens, tiles.Blocks, scratch.Lanes, asks, y + (first * BlockRows), BlockRows);
            asks.MoveOn();
            first += tokens;
        }

        scratch.AheadBytes = _kernel.AsksAhead ? ahead.Asked : 0;
        scratch.AheadScaleBytes = _kernel.AsksAhead ? scalesAhead.Asked : 0;
    }

    /// <summary>Rounds a block of inner rows to its group; the last block also makes the padding zero.</summary>
    private void WriteInner(float* values, QuantizedRow row, int block)
    {
        if (block == GateUpItems - 1)
        {
            ActivationQuantizer.QuantizeFrom(values, BlockRows, row, block);
        }
        else
        {
            ActivationQuantizer.QuantizeGroup(values, row, block);
        }
    }

    /// <summary>Memory of one worker.</summary>
    private sealed class Scratch : IDisposable
    {
        private readonly AlignedBuffer<byte> _weights = new();
        private readonly AlignedBuffer<byte> _group = new(64);
        private readonly AlignedBuffer<float> _lanes = new();
        private readonly AlignedBuffer<float> _values = new();
        private long _valueCount;

        /// <summary>Where the block begins that was asked for ahead.</summary>
        public byte* Ahead { get; set; }

        /// <summary>How much of it was, and of its scales.</summary>
        public long AheadBytes { get; set; }

        public long AheadScaleBytes { get; set; }

        public byte* Weights => _weights.Pointer;

        public byte* Group => _group.Pointer;

        public float* Lanes => _lanes.Pointer;

        public float* Gate => _values.Pointer;

        public float* Up => _values.Pointer + _valueCount;

        public void Resize(ModelShape shape, int pairs, TileKernel kernel)
        {
            // Counted once it is there: memory that ran out for a large batch is not asked for again by a small one.
            long values = Math.Max(_valueCount, Math.Max((long)pairs * BlockRows, (long)kernel.MostStoredTokens * ExpertRuns.MostItems * BlockRows));
            _values.EnsureCapacity(2 * values);
            _valueCount = values;
            if (pairs > kernel.MostStoredTokens)
            {
                _weights.EnsureCapacity(WeightTile.Bytes(Math.Max(shape.HiddenSize, shape.ExpertIntermediateSize)));
                _lanes.EnsureCapacity(kernel.ScratchFloats);
            }
        }

        public void Dispose()
        {
            _weights.Dispose();
            _group.Dispose();
            _lanes.Dispose();
            _values.Dispose();
        }
    }
}
