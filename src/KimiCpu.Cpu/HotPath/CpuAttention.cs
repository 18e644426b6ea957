// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// The attention block of one layer for a ragged batch: low-rank projections and their norms, rotation, cache write,
/// absorption of the key expansion into the query, attention over the cached latents, expansion of the values, output
/// projection.
/// </summary>
internal sealed unsafe class CpuAttention : IDisposable
{
    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly KvPages _pages;
    private readonly LinearWork _linear;
    private readonly AttentionWork _attention;
    private readonly PromptAttention _promptAttention;
    private readonly RowRotation _rotation;

    /// <summary>Multiplies the BF16 key and value expansion by inputs rounded to BF16; null to keep them in single precision.</summary>
    private readonly BFloat16Products? _products;
    private readonly ExpansionScratch[] _scratch;
    private readonly PoolAction _normalize;
    private readonly PoolAction _absorb;
    private readonly PoolAction _expand;

    private readonly AlignedBuffer<float> _queryLatent = new();
    private readonly AlignedBuffer<float> _keyValue = new();
    private readonly AlignedBuffer<float> _query = new();
    private readonly AlignedBuffer<float> _absorbed = new();
    private readonly AlignedBuffer<float> _context = new();
    private readonly AlignedBuffer<float> _values = new();

    /// <summary>Runs of rows that attend over the latents themselves.</summary>
    private readonly List<(int First, int Count)> _absorbedRows = [];

    private AttentionWeights _weights = null!;
    private RaggedBatch _batch = null!;
    private int _layer;

    public CpuAttention(ModelShape shape, WorkerPool pool, KvPages pages, LinearWork linear, TileKernel kernel)
    {
        _shape = shape;
        _pool = pool;
        _pages = pages;
        _linear = linear;
        _attention = new AttentionWork(shape, pool, pages, kernel.FastBFloat16Products);
        _promptAttention = new PromptAttention(shape, pool, pages, kernel.BFloat16Products, kernel.FastBFloat16Products);
        _rotation = new RowRotation(shape.Rotary, shape.RopeHeadSize);
        _products = pages.IsBFloat16 ? kernel.BFloat16Products : null;
        _scratch = _products is null ? [] : [.. Enumerable.Range(0, pool.Threads).Select(_ => new ExpansionScratch(_products.Tiles))];
        _normalize = new PoolAction(NormalizeAndStore);
        _absorb = new PoolAction(Absorb);
        _expand = new PoolAction(Expand);
    }

    /// <summary>See <see cref="PromptAttention.FewestRows"/>.</summary>
    public int FewestLongRows => _promptAttention.FewestRows;

    private int QueryWidth => _shape.NopeHeadSize + _shape.RopeHeadSize;

    /// <param name="layer">Index of the layer, for the cache.</param>
    /// <param name="weights">Its norms and its key and value expansion.</param>
    /// <param name="hot">Its other linear weights.</param>
    /// <param name="batch">Where the rows belong.</param>
    /// <param name="x">(rows, hidden), normalized.</param>
    /// <param name="output">(rows, hidden) receives the block's output, without the residual.</param>
    public void Run(int layer, AttentionWeights weights, HotLayer hot, RaggedBatch batch, float* x, float* output)
    {
        _layer = layer;
        _weights = weights;
        _batch = batch;
        int rows = batch.RowCount;
        long heads = (long)rows * _shape.HeadCount;
        if (layer == 0)
        {
            PreparePositions();
        }

        float* keyValue = _keyValue.EnsureCapacity((long)rows * _shape.CacheWidth);
        float* query = _query.EnsureCapacity(heads * QueryWidth);
        bool lowRank = !weights.QueryA.IsEmpty;
        _linear.Add(hot.KeyValueA, x, keyValue);
        if (lowRank)
        {
            _linear.Add(hot.QueryA, x, _queryLatent.EnsureCapacity((long)rows * _shape.QueryLoraRank));
        }
        else
        {
            _linear.Add(hot.QueryB, x, query);
        }

        _linear.Run(rows);
        _pool.Run(rows, _normalize);
        if (lowRank)
        {
            _linear.Add(hot.QueryB, _queryLatent.Pointer, query).Run(rows);
        }

        float* values = _values.EnsureCapacity(heads * _shape.ValueHeadSize);
        foreach (BatchSequence sequence in batch.Sequences)
        {
            if (IsLong(sequence))
            {
                _promptAttention.Run(layer, weights, sequence, _rotation, query, values);
            }
        }

        if (_absorbedRows.Count > 0)
        {
            _absorbed.EnsureCapacity(heads * _shape.CacheWidth);
            _context.EnsureCapacity(heads * _shape.KeyValueLoraRank);
            _pool.Run(_shape.HeadCount, _absorb);
            _attention.Run(layer, _absorbed.Pointer, _context.Pointer);
            _pool.Run(_shape.HeadCount, _expand);
        }

        _linear.Add(hot.Output, _values.Pointer, output).Run(rows);
    }

    public void Dispose()
    {
        _attention.Dispose();
        _promptAttention.Dispose();
        Array.ForEach(_scratch, s => s.Dispose());
        _queryLatent.Dispose();
        _keyValue.Dispose();
        _query.Dispose();
        _absorbed.Dispose();
        _context.Dispose();
        _values.Dispose();
    }

    private bool IsLong(in BatchSequence sequence) => sequence.RowCount >= _promptAttention.FewestRows;

    /// <summary>Rotation tables and items of attention; the same for all layers of a pass.</summary>
    private void PreparePositions()
    {
        _rotation.Prepare(_batch);
        _attention.Plan(_batch, _promptAttention.FewestRows);
        _absorbedRows.Clear();
        foreach (BatchSequence sequence in _batch.Sequences)
        {
            if (IsLong(sequence))
            {
                continue;
            }

            if (_absorbedRows.Count > 0 && _absorbedRows[^1] is var (first, count) && first + count == sequence.FirstRow)
            {
                _absorbedRows[^1] = (first, count + sequence.RowCount);
            }
            else
            {
                _absorbedRows.Add((sequence.FirstRow, sequence.RowCount));
            }
        }
    }

    /// <summary>Norms of both low-rank paths; the rotated key and the latent go to the cache.</summary>
    private void NormalizeAndStore(int begin, int end, int worker)
    {
        int rank = _shape.KeyValueLoraRank;
        for (int row = begin; row < end; row++)
        {
            if (!_weights.QueryA.IsEmpty)
            {
                var latent = new Span<float>(_queryLatent.Pointer + ((long)row * _shape.QueryLoraRank), _shape.QueryLoraRank);
                RmsNorm.Apply(latent, _weights.QueryANorm, _shape.LowRankNormEpsilon, latent);
            }

            var cached = new Span<float>(_keyValue.Pointer + ((long)row * _shape.CacheWidth), _shape.CacheWidth);
            RmsNorm.Apply(cached[..rank], _weights.KeyValueANorm, _shape.LowRankNormEpsilon, cached[..rank]);
            _rotation.Apply(row, cached[rank..]);
            int position = _batch.Positions[row];
            ReadOnlySpan<int> table = _batch.Sequences[_attention.SequenceOf(row)].Pages.Span;
            _pages.Write(table[position / KvPage.Tokens], _layer, position % KvPage.Tokens, cached);
        }
    }

    /// <summary>Per head: the query in latent space, q W_UK, beside its rotated part; both times the softmax scale.</summary>
    private void Absorb(int begin, int end, int worker)
    {
        for (int h = begin; h < end; h++)
        {
            foreach ((int first, int count) in _absorbedRows)
            {
                Absorb(h, first, count, worker);
            }
        }
    }

    private void Absorb(int head, int firstRow, int rows, int worker)
    {
        int nope = _shape.NopeHeadSize;
        int rank = _shape.KeyValueLoraRank;
        for (int row = firstRow; row < firstRow + rows; row++)
        {
            Span<float> target = AbsorbedQuery(row, head);
            target[..rank].Clear();
            Query(row, head)[nope..].CopyTo(target[rank..]);
            _rotation.Apply(row, target[rank..]);
        }

        float* absorbed = _absorbed.Pointer + ((((long)firstRow * _shape.HeadCount) + head) * _shape.CacheWidth);
        float* query = _query.Pointer + ((((long)firstRow * _shape.HeadCount) + head) * QueryWidth);
        long absorbedStride = (long)_shape.HeadCount * _shape.CacheWidth;
        long queryStride = (long)_shape.HeadCount * QueryWidth;
        if (_products is not null && _weights.KeyValueB.Format == WeightFormat.BFloat16 && rank % BFloat16PairsCode.Columns == 0)
        {
            AbsorbBFloat16(KeyRows(head), query, queryStride, rows, absorbed, absorbedStride, _scratch[worker]);
        }
        else
        {
            TransposedGemm.Accumulate(KeyRows(head), query, queryStride, rows, absorbed, absorbedStride);
        }

        for (int row = firstRow; row < firstRow + rows; row++)
        {
            Span<float> target = AbsorbedQuery(row, head);
            RowMath.Scale(target, _shape.SoftmaxScale, target);
        }
    }

    private void AbsorbBFloat16(in WeightMatrix keys, float* query, long queryStride, int tokens, float* absorbed, long absorbedStride, ExpansionScratch scratch)
    {
        // Behind a head's keys lie its values, and then the keys of the next head.
        byte* nextHead = keys.Data + ((_shape.NopeHeadSize + _shape.ValueHeadSize) * keys.RowBytes);
        if (tokens == 1 && BFloat16Products.CanSumRows(keys))
        {
            ushort* rounded = scratch.Factors.EnsureCapacity(keys.Rows);
            BFloat16Rounding.Round(query, keys.Rows, rounded);
            _products!.SumRows(keys, rounded, nextHead, absorbed);
            return;
        }

        ushort* factors = scratch.Factors.EnsureCapacity((long)tokens * BFloat16PairsCode.Rows);
        for (int first = 0; first < keys.Rows; first += BFloat16PairsCode.Rows)
        {
            int count = Math.Min(BFloat16PairsCode.Rows, keys.Rows - first);
            for (int t = 0; t < tokens; t++)
            {
                ushort* target = factors + (t * BFloat16PairsCode.Rows);
                BFloat16Rounding.Round(query + (t * queryStride) + first, count, target);
                new Span<ushort>(target + count, BFloat16PairsCode.Rows - count).Clear();
            }

            byte* next = first + count < keys.Rows ? keys.Data + ((first + count) * keys.RowBytes) : nextHead;
            scratch.Pairs.Set(keys.Data + (first * keys.RowBytes), keys.RowBytes, count, keys.Columns, next);
            _products!.Accumulate(scratch.Pairs, factors, tokens, absorbed, absorbedStride);
        }
    }

    /// <summary>A head's rows of the key expansion; decoded to the thread's scratch where the kernel does not take their format.</summary>
    private WeightMatrix KeyRows(int head)
    {
        int nope = _shape.NopeHeadSize;
        int first = head * (nope + _shape.ValueHeadSize);
        WeightMatrix all = _weights.KeyValueB;
        if (all.Format is WeightFormat.BFloat16 or WeightFormat.Float32)
        {
            return all.SliceRows(first, nope);
        }

        float* decoded = FloatGemm.Scratch((long)nope * all.Columns);
        for (int n = 0; n < nope; n++)
        {
            WeightDecoder.DecodeRow(all, first + n, new Span<float>(decoded + ((long)n * all.Columns), all.Columns));
        }

        return new WeightMatrix(WeightFormat.Float32, nope, all.Columns, (byte*)decoded);
    }

    /// <summary>Per head: values from the attended latent, W_UV c.</summary>
    private void Expand(int begin, int end, int worker)
    {
        for (int h = begin; h < end; h++)
        {
            _attention.Finish(h);
            foreach ((int first, int count) in _absorbedRows)
            {
                Expand(h, first, count, worker);
            }
        }
    }

    private void Expand(int head, int firstRow, int rows, int worker)
    {
        int valueSize = _shape.ValueHeadSize;
        int begin = (head * (_shape.NopeHeadSize + valueSize)) + _shape.NopeHeadSize;

        // The kernel writes row r of the matrix to y[r]; this head's values begin at head * valueSize.
        float* values = _values.Pointer + ((((long)firstRow * _shape.HeadCount) + head) * valueSize) - begin;
        float* context = _context.Pointer + ((((long)firstRow * _shape.HeadCount) + head) * _shape.KeyValueLoraRank);
        long contextStride = (long)_shape.HeadCount * _shape.KeyValueLoraRank;
        long valuesStride = (long)_shape.HeadCount * valueSize;
        if (_products is not null && _weights.KeyValueB.Format == WeightFormat.BFloat16)
        {
            BFloat16Tiles rounded = _scratch[worker].Contexts;
            rounded.Set(context, contextStride, rows, _shape.KeyValueLoraRank);
            _products.Multiply(_weights.KeyValueB, begin, begin + valueSize, rounded, values, valuesStride);
        }
        else
        {
            FloatGemv.Multiply(_weights.KeyValueB, begin, begin + valueSize, context, contextStride, rows, values, valuesStride);
        }
    }

    private Span<float> Query(int row, int head) => new(_query.Pointer + ((((long)row * _shape.HeadCount) + head) * QueryWidth), QueryWidth);

    private Span<float> AbsorbedQuery(int row, int head) =>
        new(_absorbed.Pointer + ((((long)row * _shape.HeadCount) + head) * _shape.CacheWidth), _shape.CacheWidth);

    /// <summary>A thread's room for what the key and value expansion is multiplied with.</summary>
    private sealed class ExpansionScratch(TokenTiles tiles) : IDisposable
    {
        public BFloat16Pairs Pairs { get; } = new();

        public AlignedBuffer<ushort> Factors { get; } = new();

        public BFloat16Tiles Contexts { get; } = new(tiles);

        public void Dispose()
        {
            Pairs.Dispose();
            Factors.Dispose();
            Contexts.Dispose();
        }
    }
}
