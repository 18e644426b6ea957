// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// Multiplies in single precision, queries side by side in the lanes of vectors: an element of a key meets many queries at once, scores need no
/// folding, and a vector of queries is exponentiated at a time. Keys and values in BF16 are widened once for all queries and both products. Every
/// score and every element of a context is one chain of multiply-adds, by rising column and by rising token; columns of values behind the last whole
/// vector are multiplied and added one by one.
/// </summary>
internal sealed unsafe partial class QueryLanes<TLanes> : AttentionQueries
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Columns of which a block's queries, 24 KB with 512 bits, stay in the first-level cache while a page's keys pass by.</summary>
    private const int ColumnPart = 96;

    private const int CacheLine = 64;

    private readonly bool _bfloat16;

    /// <summary>(blocks, columns, lanes of the block).</summary>
    private readonly AlignedBuffer<float> _queries;

    /// <summary>(page's tokens, columns) widened; none in F32.</summary>
    private readonly AlignedBuffer<float> _keys;

    /// <summary>The same of values that are no keys.</summary>
    private readonly AlignedBuffer<float> _values = new();

    /// <summary>(page's tokens, lanes).</summary>
    private readonly AlignedBuffer<float> _scores = new(KvPage.Tokens * LatentAttention.MostQueries);

    /// <summary>(queries, value's columns).</summary>
    private readonly AlignedBuffer<float> _contexts;
    private readonly AlignedBuffer<float> _maxima = new(LatentAttention.MostQueries);
    private readonly AlignedBuffer<float> _sums = new(LatentAttention.MostQueries);

    /// <summary>How vectors of columns, and of queries, are cut into tiles.</summary>
    private readonly TokenTiles _vectorTiles = new(OuterProducts.MostVectors<TLanes>());

    /// <summary>Columns of values in whole vectors.</summary>
    private readonly int _whole;
    private int _lanes;

    /// <param name="keyWidth">Columns of a key.</param>
    /// <param name="valueWidth">Columns of a value.</param>
    /// <param name="bfloat16">Whether keys and values come in BF16; else in F32.</param>
    public QueryLanes(int keyWidth, int valueWidth, bool bfloat16)
        : base(keyWidth, valueWidth)
    {
        _bfloat16 = bfloat16;
        _contexts = new AlignedBuffer<float>(LatentAttention.MostQueries * ValueWidth);
        _queries = new AlignedBuffer<float>(LatentAttention.MostQueries * KeyWidth);
        _keys = new AlignedBuffer<float>(bfloat16 ? KvPage.Tokens * KeyWidth : 0);
        _whole = ValueWidth / TLanes.Count * TLanes.Count;
    }

    /// <summary>Those of a vector.</summary>
    public override int Lanes => TLanes.Count;

    public override void Clear()
    {
        new Span<float>(_contexts.Pointer, Count * ValueWidth).Clear();
        new Span<float>(_maxima.Pointer, _lanes).Fill(float.MinValue);
        new Span<float>(_sums.Pointer, _lanes).Clear();
    }

    public override void Visit(in KeyValuePage page, int count, int visible, byte* next)
    {
        KeyValuePage floats = _bfloat16 ? Widened(page, count) : page;
        Score((float*)floats.Keys, count);
        for (int query = 0; query < Count && visible < count; query++)
        {
            Hide(query, SeenBy(query, count, visible), count);
        }

        for (int lane = 0; lane < _lanes; lane += TLanes.Count)
        {
            Rescale(lane, count);
        }

        Accumulate((float*)floats.Values, floats.ValueBytes / sizeof(float), count, next);
    }

    public override void Dispose()
    {
        _queries.Dispose();
        _keys.Dispose();
        _values.Dispose();
        _scores.Dispose();
        _contexts.Dispose();
        _maxima.Dispose();
        _sums.Dispose();
    }

    protected override float* Values(int query) => _contexts.Pointer + (query * ValueWidth);

    protected override float Maximum(int query) => _maxima.Pointer[query];

    protected override float Sum(int query) => _sums.Pointer[query];

    /// <summary>Lanes of the block that begins with one.</summary>
    private int BlockLanes(int lane) => _vectorTiles.Next((_lanes - lane) / TLanes.Count) * TLanes.Count;

    private KeyValuePage Widened(in KeyValuePage page, int count)
    {
        Widen(page.Keys, sizeof(ushort) * KeyWidth, KeyWidth, count, _keys.Pointer);
        if (page.Values == page.Keys)
        {
            return new KeyValuePage((byte*)_keys.Pointer, (byte*)_keys.Pointer, sizeof(float) * KeyWidth);
        }

        Widen(page.Values, page.ValueBytes, ValueWidth, count, _values.EnsureCapacity(KvPage.Tokens * ValueWidth));
        return new KeyValuePage((byte*)_keys.Pointer, (byte*)_values.Pointer, sizeof(float) * ValueWidth);
    }

    private static void Widen(byte* rows, long rowBytes, int columns, int count, float* target)
    {
        for (int t = 0; t < count; t++)
        {
            WeightDecoder.DecodeBFloat16(rows + (t * rowBytes), new Span<float>(target + (t * columns), columns));
        }
    }

    /// <summary>Scores of all queries, visible or not.</summary>
    private void Score(float* allKeys, int count)
    {
        new Span<float>(_scores.Pointer, count * _lanes).Clear();
        var tiles = new TokenTiles(OuterProducts.MostRows);
        for (int first = 0; first < KeyWidth; first += ColumnPart)
        {
            int columns = Math.Min(ColumnPart, KeyWidth - first);
            for (int lane = 0, block; lane < _lanes; lane += block)
            {
                block = BlockLanes(lane);
                float* queries = _queries.Pointer + (lane * KeyWidth) + (first * block);
                for (int t = 0, taken; t < count; t += taken)
                {
                    taken = tiles.Next(count - t);
                    float* keys = allKeys + ((long)t * KeyWidth) + first;
                    OuterProducts.Add<TLanes>(taken, block / TLanes.Count, keys, KeyWidth, 1, queries, block, columns, _scores.Pointer + (t * _lanes) + lane, _lanes);
                }
            }
        }
    }

    /// <summary>Tokens that a query does not see weigh nothing, so that all queries take the page at once.</summary>
    private void Hide(int query, int seen, int count)
    {
        for (int t = seen; t < count; t++)
        {
            _scores.Pointer[(t * _lanes) + query] = float.NegativeInfinity;
        }
    }

    /// <summary>Turns scores of a vector of queries into e^(score - maximum), and what they gathered before to the new maximum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rescale(int lane, int count)
    {
        float* scores = _scores.Pointer + lane;
        TLanes maximum = TLanes.Load(_maxima.Pointer + lane);
        for (int t = 0; t < count; t++)
        {
            // A NaN gets lost here, but not below, where it is its own exponential and reaches the sum.
            maximum = TLanes.Max(TLanes.Load(scores + (t * _lanes)), maximum);
        }

        SetMaxima(lane, maximum);
        TLanes sum = TLanes.Load(_sums.Pointer + lane);
        for (int t = 0; t < count; t++)
        {
            TLanes weight = Exponential.Of(TLanes.Subtract(TLanes.Load(scores + (t * _lanes)), maximum));
            TLanes.Store(weight, scores + (t * _lanes));
            sum = TLanes.Add(sum, weight);
        }

        TLanes.Store(sum, _sums.Pointer + lane);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SetMaxima(int lane, TLanes maxima)
    {
        float* before = stackalloc float[TLanes.Count];
        TLanes.Store(TLanes.Load(_maxima.Pointer + lane), before);
        TLanes.Store(maxima, _maxima.Pointer + lane);
        for (int i = 0; i < TLanes.Count && lane + i < Count; i++)
        {
            float maximum = _maxima.Pointer[lane + i];

            // On a segment's first page nothing is there to scale.
            if (before[i] != maximum && _sums.Pointer[lane + i] != 0)
            {
                float factor = MathF.Exp(before[i] - maximum);
                _sums.Pointer[lane + i] *= factor;
                var context = new Span<float>(_contexts.Pointer + ((lane + i) * ValueWidth), ValueWidth);
                RowMath.Scale(context, factor, context);
            }
        }
    }

    /// <summary>Meanwhile asks for the next page, which comes from memory, in equal parts.</summary>
    private void Accumulate(float* values, long valueStride, int count, byte* next)
    {
        var queryTiles = new TokenTiles(OuterProducts.MostRows);
        int vectors = _whole / TLanes.Count;
        long pageBytes = KvPage.Tokens * (_bfloat16 ? sizeof(ushort) : sizeof(float)) * (long)KeyWidth;
        byte* end = next is null ? null : next + pageBytes;
        int tiles = Math.Max(1, queryTiles.Count(Count) * _vectorTiles.Count(vectors));
        long bytesOfTile = ((pageBytes / CacheLine) + tiles - 1) / tiles * CacheLine;
        for (int vector = 0, wide; vector < vectors; vector += wide)
        {
            wide = _vectorTiles.Next(vectors - vector);
            int column = vector * TLanes.Count;
            for (int query = 0, taken; query < Count; query += taken)
            {
                taken = queryTiles.Next(Count - query);
                for (byte* stop = next + bytesOfTile; next < end && next < stop; next += CacheLine)
                {
                    Prefetch.Line(next);
                }

                float* contexts = _contexts.Pointer + ((long)query * ValueWidth) + column;
                OuterProducts.Add<TLanes>(taken, wide, _scores.Pointer + query, 1, _lanes, values + column, valueStride, count, contexts, ValueWidth);
            }
        }

        for (int query = 0; query < Count; query++)
        {
            AccumulateRest(query, values, valueStride, count);
        }
    }

    /// <summary>The columns behind the last whole vector.</summary>
    private void AccumulateRest(int query, float* values, long valueStride, int count)
    {
        for (int c = _whole; c < ValueWidth; c++)
        {
            float sum = _contexts.Pointer[(query * ValueWidth) + c];
            for (int t = 0; t < count; t++)
            {
                sum += _scores.Pointer[(t * _lanes) + query] * values[(t * valueStride) + c];
            }

            _contexts.Pointer[(query * ValueWidth) + c] = sum;
        }
    }
}
