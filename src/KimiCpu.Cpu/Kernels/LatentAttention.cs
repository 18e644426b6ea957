// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics.Tensors;
using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// One token's attention over the cached latents, for a few heads at a time, with the key and value expansions absorbed
/// (DeepSeek-V2, arXiv:2405.04434, section 2.1.2): the query lies in the latent space, a cached token is key (all of it)
/// and value (its latent part) at once. Pages are visited in order with a running softmax, so a result depends on the
/// token's own history only, never on what else is in the batch. One instance a thread; it keeps scratch memory.
/// </summary>
internal sealed unsafe partial class LatentAttention : IDisposable
{
    /// <summary>Consecutive tokens of a prompt that pass over a page together.</summary>
    public const int RowGroup = 8;

    /// <summary>Heads of such tokens that do so.</summary>
    public const int HeadGroup = 8;

    /// <summary>Most queries, rows times heads, of a pass.</summary>
    public const int MostQueries = RowGroup * HeadGroup;

    /// <summary>Products of BF16 with 256-bit vectors widen weights as they go, in fewer instructions than floats take to load.</summary>
    private static readonly bool s_widensInRegisters = CpuFeatures.Best == InstructionSet.Avx2;

    private readonly int _latentSize;
    private readonly int _width;
    private readonly bool _bfloat16;

    /// <summary>Floats from one query's context to the next.</summary>
    private readonly int _contextWidth;
    private readonly AlignedBuffer<float> _scores = new(MostQueries * KvPage.Tokens);
    private readonly AlignedBuffer<float> _queries;
    private readonly AlignedBuffer<float> _contexts;
    private readonly AlignedBuffer<float> _keys;
    private readonly float[] _maxima = new float[MostQueries];
    private readonly float[] _sums = new float[MostQueries];

    /// <param name="shape">Sizes.</param>
    /// <param name="bfloat16">Whether the cache holds BF16; else F32.</param>
    /// <param name="products">Multiplies BF16 keys and values as they are, with queries and weights rounded to BF16; null to widen them to floats.</param>
    public LatentAttention(ModelShape shape, bool bfloat16, BFloat16Products? products = null)
    {
        _latentSize = shape.KeyValueLoraRank;
        _width = shape.CacheWidth;
        _bfloat16 = bfloat16;
        _products = bfloat16 ? products : null;
        _contextWidth = _products is null ? _latentSize : (_latentSize + BFloat16PairsCode.Columns - 1) / BFloat16PairsCode.Columns * BFloat16PairsCode.Columns;
        _queries = new AlignedBuffer<float>(MostQueries * _width);
        _contexts = new AlignedBuffer<float>(MostQueries * _contextWidth);
        _keys = new AlignedBuffer<float>(bfloat16 && _products is null && !s_widensInRegisters ? KvPage.Tokens * _width : 0);
        if (_products is not null)
        {
            _roundedQueries = new BFloat16Tiles(_products.Tiles);
            _values = new BFloat16Pairs();
            _roundedScores = new AlignedBuffer<ushort>(MostQueries * KvPage.Tokens);
        }
    }

    /// <summary>
    /// Heads of an item of work when every row is decoded for itself: as many as leave an item for each thread, since a page
    /// is widened to floats once for all of them.
    /// </summary>
    public static int HeadsTogether(int headCount, int rows, int threads)
    {
        int perThread = (int)(((long)headCount * rows + threads - 1) / threads);
        return Math.Clamp((perThread + HeadGroup - 1) / HeadGroup * HeadGroup, HeadGroup, MostQueries);
    }

    /// <summary>Attends for consecutive tokens of a sequence, the first of which sees tokens 0 … <paramref name="visible"/> - 1, each further one more.</summary>
    /// <param name="query">(rows, heads, kv_lora + rope): absorbed query, then rotated part, both times the softmax scale.</param>
    /// <param name="queryStride">Floats from row to row.</param>
    /// <param name="rows">At least 1.</param>
    /// <param name="heads">At least 1; rows times heads at most <see cref="MostQueries"/>.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">At least 1.</param>
    /// <param name="context">(rows, heads, kv_lora) receives the weighted mean of the latents.</param>
    /// <param name="contextStride">Floats from row to row.</param>
    public void Attend(
        float* query, long queryStride, int rows, int heads, KvPages pages, int layer, ReadOnlySpan<int> table, int visible, float* context, long contextStride)
    {
        int queries = rows * heads;
        for (int r = 0; r < rows; r++)
        {
            new ReadOnlySpan<float>(query + (r * queryStride), heads * _width).CopyTo(new Span<float>(_queries.Pointer + (r * heads * _width), heads * _width));
        }

        new Span<float>(_contexts.Pointer, queries * _contextWidth).Clear();
        _maxima.AsSpan().Fill(float.NegativeInfinity);
        _sums.AsSpan().Clear();
        int end = visible + rows - 1;
        if (_products is not null)
        {
            RoundQueries(queries);
        }

        for (int first = 0; first < end; first += KvPage.Tokens)
        {
            int count = Math.Min(KvPage.Tokens, end - first);
            byte* page = pages.Slots(table[first / KvPage.Tokens], layer);
            if (_products is not null)
            {
                VisitBFloat16(page, count, visible - first, rows, heads);
            }
            else
            {
                Visit(page, count, visible - first, rows, heads);
            }
        }

        for (int i = 0; i < queries; i++)
        {
            TensorPrimitives.Multiply(
                new ReadOnlySpan<float>(_contexts.Pointer + (i * _contextWidth), _latentSize),
                1 / _sums[i],
                new Span<float>(context + (i / heads * contextStride) + (i % heads * (long)_latentSize), _latentSize));
        }
    }

    public void Dispose()
    {
        _scores.Dispose();
        _queries.Dispose();
        _contexts.Dispose();
        _keys.Dispose();
        _roundedQueries?.Dispose();
        _values?.Dispose();
        _roundedScores?.Dispose();
    }

    /// <param name="page">Its first slot.</param>
    /// <param name="count">Tokens in it that the last row sees.</param>
    /// <param name="visible">Tokens that the first row sees, from the page's first on; each further row sees one more.</param>
    /// <param name="rows">Of queries.</param>
    /// <param name="heads">Queries of a row.</param>
    private void Visit(byte* page, int count, int visible, int rows, int heads)
    {
        int queries = rows * heads;
        WeightMatrix keys = Keys(page, count);
        FloatGemv.Multiply(keys, 0, count, _queries.Pointer, _width, queries, _scores.Pointer, KvPage.Tokens);
        for (int r = 0; r < rows; r++)
        {
            int seen = Math.Clamp(visible + r, 0, count);
            for (int h = 0; h < heads && seen > 0; h++)
            {
                Rescale((r * heads) + h, seen);
            }
        }

        if (visible >= count)
        {
            Accumulate(keys, 0, queries);
            return;
        }

        for (int r = 0; r < rows; r++)
        {
            int seen = Math.Clamp(visible + r, 0, count);
            if (seen > 0)
            {
                Accumulate(keys.SliceRows(0, seen), r * heads, heads);
            }
        }
    }

    /// <summary>A page's keys: as floats, which both products need, unless both widen BF16 in registers.</summary>
    private WeightMatrix Keys(byte* tile, int count)
    {
        if (_bfloat16 && s_widensInRegisters)
        {
            return new WeightMatrix(WeightFormat.BFloat16, count, _width, tile);
        }

        if (!_bfloat16)
        {
            return new WeightMatrix(WeightFormat.Float32, count, _width, tile);
        }

        var stored = new WeightMatrix(WeightFormat.BFloat16, count, _width, tile);
        for (int i = 0; i < count; i++)
        {
            WeightDecoder.DecodeRow(stored, i, new Span<float>(_keys.Pointer + (i * _width), _width));
        }

        return new WeightMatrix(WeightFormat.Float32, count, _width, (byte*)_keys.Pointer);
    }

    private void Accumulate(in WeightMatrix keys, int firstQuery, int queries) =>
        TransposedGemm.Accumulate(
            keys, _latentSize, _scores.Pointer + (firstQuery * KvPage.Tokens), KvPage.Tokens, queries, _contexts.Pointer + (firstQuery * _contextWidth), _contextWidth);

    /// <summary>Turns a page's scores into e^(score - maximum), and what was summed before to the new maximum.</summary>
    private void Rescale(int query, int count)
    {
        var scores = new Span<float>(_scores.Pointer + (query * KvPage.Tokens), count);

        // TensorPrimitives.Max returns NaN if there is one, which then reaches the result.
        float maximum = MathF.Max(_maxima[query], TensorPrimitives.Max(scores));
        if (maximum != _maxima[query])
        {
            float factor = MathF.Exp(_maxima[query] - maximum);
            _sums[query] *= factor;
            var row = new Span<float>(_contexts.Pointer + (query * _contextWidth), _latentSize);
            TensorPrimitives.Multiply(row, factor, row);
            _maxima[query] = maximum;
        }

        TensorPrimitives.Subtract(scores, maximum, scores);
        TensorPrimitives.Exp(scores, scores);
        _sums[query] += TensorPrimitives.Sum(scores);
    }
}
