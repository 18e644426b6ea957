// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Compute.Reference;

/// <summary>The hot path in the model's order, from reference operations, with single-precision activations and cache.</summary>
internal sealed unsafe class ReferenceHotPath : IHotPath
{
    private readonly ModelWeights _weights;
    private readonly ModelShape _shape;
    private readonly List<float[]> _pages = [];
    private readonly PinnedRows _hidden = new();
    private readonly PinnedRows _expertWeights = new();
    private readonly PinnedRows _experts = new();
    private readonly PinnedRows _predicted = new();
    private readonly bool _lookAhead;
    private float[] _residual = [];
    private float[] _routedSum = [];
    private float[] _shared = [];
    private int[] _nonFiniteLayer = [];
    private RaggedBatch _batch = new();

    /// <param name="weights">Of the model.</param>
    /// <param name="lookAhead">Whether to predict the next layer's experts.</param>
    public ReferenceHotPath(ModelWeights weights, bool lookAhead = false)
    {
        _lookAhead = lookAhead;
        _weights = weights;
        _shape = weights.Shape;
    }

    /// <summary>Called with (layer, residual (rows, hidden)) after every layer, and with -1 after the embedding.</summary>
    public Action<int, float[]>? AfterLayer { get; set; }

    public int MaxRows => int.MaxValue;

    public int EfficientRows => 1;

    public long BytesPerPage => (long)KvPage.Tokens * _shape.LayerCount * _shape.CacheWidth * sizeof(float);

    public long BytesRead(RaggedBatch batch) => HotPathReads.AsStored(_weights, BytesPerPage).Of(batch);

    public void ReservePages(int count)
    {
        while (_pages.Count < count)
        {
            _pages.Add(new float[KvPage.Tokens * _shape.LayerCount * _shape.CacheWidth]);
        }
    }

    public void CopyPage(int source, int target) => _pages[source].CopyTo(_pages[target].AsSpan());

    public void ReadPage(int page, int tokens, Span<byte> bytes)
    {
        Span<float> values = MemoryMarshal.Cast<byte, float>(bytes);
        for (int layer = 0; layer < _shape.LayerCount; layer++)
        {
            LayerSlots(page, layer, tokens).CopyTo(values[(layer * tokens * _shape.CacheWidth)..]);
        }
    }

    public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<float> values = MemoryMarshal.Cast<byte, float>(bytes);
        for (int layer = 0; layer < _shape.LayerCount; layer++)
        {
            Span<float> slots = LayerSlots(page, layer, tokens);
            values.Slice(layer * slots.Length, slots.Length).CopyTo(slots);
        }
    }

    public void Begin(RaggedBatch batch)
    {
        _batch = batch;
        _residual = new float[batch.RowCount * _shape.HiddenSize];
        _routedSum = new float[_residual.Length];
        _nonFiniteLayer = new int[batch.RowCount];
        Array.Fill(_nonFiniteLayer, -1);
        for (int row = 0; row < batch.RowCount; row++)
        {
            for (int i = 0; i < _shape.HiddenSize; i++)
            {
                _residual[(row * _shape.HiddenSize) + i] = (float)ReferenceLinear.Element(_weights.Embedding, batch.Tokens[row], i);
            }
        }

        AfterLayer?.Invoke(-1, _residual);
    }

    public RoutedRows Attend(int layer)
    {
        LayerWeights weights = _weights.Layers[layer];
        int rows = _batch.RowCount;
        var normalized = new float[_residual.Length];
        ReferenceOps.RmsNorm(_residual, weights.InputNorm, _shape.NormEpsilon, normalized);
        AddToResidual(Attention(layer, weights.Attention, normalized));

        ReferenceOps.RmsNorm(_residual, weights.PostAttentionNorm, _shape.NormEpsilon, normalized);
        if (weights.Dense is not null)
        {
            var dense = new float[_residual.Length];
            ReferenceOps.Mlp(weights.Dense, normalized, rows, dense);
            AddToResidual(dense);
            EndLayer(layer);
            return default;
        }

        int chosen = rows * _shape.ExpertsPerToken;
        Route(weights.Router!, normalized, _experts.Rent<int>(chosen), _expertWeights.Rent<float>(chosen));
        normalized.CopyTo(_hidden.Rent<float>(normalized.Length));
        int* predicted = null;
        if (_lookAhead && _weights.NextMoeLayer(layer) is { } next)
        {
            Route(next.Router!, normalized, _predicted.Rent<int>(chosen), new float[chosen]);
            predicted = (int*)_predicted.Pointer;
        }

        return new RoutedRows(rows, (float*)_hidden.Pointer, (int*)_experts.Pointer, (float*)_expertWeights.Pointer, predicted);
    }

    public void StartShared(int layer)
    {
        _shared = new float[_residual.Length];
        if (_weights.Layers[layer].Shared is { } shared)
        {
            ReferenceOps.Mlp(shared, new ReadOnlySpan<float>(_hidden.Pointer, _residual.Length), _batch.RowCount, _shared);
        }
    }

    public Span<float> RoutedSum => _routedSum;

    public void Finish(int layer)
    {
        AddToResidual(_routedSum);
        AddToResidual(_shared);
        EndLayer(layer);
    }

    public void Logits(ReadOnlySpan<int> rows, Span<float> logits)
    {
        int hidden = _shape.HiddenSize;
        var chosen = new float[rows.Length * hidden];
        for (int i = 0; i < rows.Length; i++)
        {
            _residual.AsSpan(rows[i] * hidden, hidden).CopyTo(chosen.AsSpan(i * hidden));
        }

        ReferenceOps.RmsNorm(chosen, _weights.FinalNorm, _shape.NormEpsilon, chosen);
        ReferenceLinear.Multiply(_weights.Head, chosen, rows.Length, logits);
    }

    public int NonFiniteLayer(int row) => _nonFiniteLayer[row];

    public void Dispose()
    {
        _hidden.Dispose();
        _experts.Dispose();
        _predicted.Dispose();
        _expertWeights.Dispose();
    }

    /// <summary>A router's choice for every row of (rows, hidden).</summary>
    private void Route(RouterWeights router, float[] x, Span<int> experts, Span<float> factors)
    {
        int count = _shape.ExpertCount;
        int chosen = _shape.ExpertsPerToken;
        var logits = new float[_batch.RowCount * count];
        ReferenceLinear.Multiply(router.Gate, x, _batch.RowCount, logits);
        for (int row = 0; row < _batch.RowCount; row++)
        {
            ReferenceRouter.Route(_shape, logits.AsSpan(row * count, count), router.CorrectionBias, experts.Slice(row * chosen, chosen), factors.Slice(row * chosen, chosen));
        }
    }

    /// <summary>Attention of one layer over every sequence of the batch; returns (rows, hidden).</summary>
    private float[] Attention(int layer, AttentionWeights weights, float[] x)
    {
        int rows = _batch.RowCount;
        int heads = _shape.HeadCount;
        int queryWidth = _shape.NopeHeadSize + _shape.RopeHeadSize;
        int rank = _shape.KeyValueLoraRank;
        float[] queryInput = x;
        if (!weights.QueryA.IsEmpty)
        {
            queryInput = new float[rows * _shape.QueryLoraRank];
            ReferenceLinear.Multiply(weights.QueryA, x, rows, queryInput);
            ReferenceOps.RmsNorm(queryInput, weights.QueryANorm, _shape.LowRankNormEpsilon, queryInput);
        }

        var query = new float[rows * heads * queryWidth];
        ReferenceLinear.Multiply(weights.QueryB, queryInput, rows, query);
        var keyValue = new float[rows * _shape.CacheWidth];
        ReferenceLinear.Multiply(weights.KeyValueA, x, rows, keyValue);
        for (int row = 0; row < rows; row++)
        {
            Span<float> cached = keyValue.AsSpan(row * _shape.CacheWidth, _shape.CacheWidth);
            ReferenceOps.RmsNorm(cached[..rank], weights.KeyValueANorm, _shape.LowRankNormEpsilon, cached[..rank]);
            ReferenceOps.Rotate(_shape.Rotary, _batch.Positions[row], cached[rank..]);
            for (int h = 0; h < heads; h++)
            {
                Span<float> head = query.AsSpan(((row * heads) + h) * queryWidth, queryWidth);
                ReferenceOps.Rotate(_shape.Rotary, _batch.Positions[row], head[_shape.NopeHeadSize..]);
            }
        }

        var attended = new float[rows * heads * _shape.ValueHeadSize];
        foreach (BatchSequence sequence in _batch.Sequences)
        {
            int total = sequence.Start + sequence.RowCount;
            var latents = new float[total * rank];
            var rotaryKeys = new float[total * _shape.RopeHeadSize];
            for (int position = 0; position < total; position++)
            {
                Span<float> slot = CacheSlot(layer, sequence, position);
                if (position >= sequence.Start)
                {
                    int row = sequence.FirstRow + position - sequence.Start;
                    keyValue.AsSpan(row * _shape.CacheWidth, _shape.CacheWidth).CopyTo(slot);
                }

                slot[..rank].CopyTo(latents.AsSpan(position * rank));
                slot[rank..].CopyTo(rotaryKeys.AsSpan(position * _shape.RopeHeadSize));
            }

            int valueWidth = heads * _shape.ValueHeadSize;
            ReferenceAttention.Attend(
                _shape,
                weights.KeyValueB,
                query.AsSpan(sequence.FirstRow * heads * queryWidth, sequence.RowCount * heads * queryWidth),
                latents,
                rotaryKeys,
                attended.AsSpan(sequence.FirstRow * valueWidth, sequence.RowCount * valueWidth));
        }

        var output = new float[rows * _shape.HiddenSize];
        ReferenceLinear.Multiply(weights.Output, attended, rows, output);
        return output;
    }

    private Span<float> CacheSlot(int layer, BatchSequence sequence, int position)
    {
        float[] page = _pages[sequence.Pages.Span[position / KvPage.Tokens]];
        int slot = (layer * KvPage.Tokens) + (position % KvPage.Tokens);
        return page.AsSpan(slot * _shape.CacheWidth, _shape.CacheWidth);
    }

    private Span<float> LayerSlots(int page, int layer, int tokens) =>
        _pages[page].AsSpan(layer * KvPage.Tokens * _shape.CacheWidth, tokens * _shape.CacheWidth);

    private void AddToResidual(ReadOnlySpan<float> y)
    {
        for (int i = 0; i < _residual.Length; i++)
        {
            _residual[i] += y[i];
        }
    }

    private void EndLayer(int layer)
    {
        for (int i = 0; i < _residual.Length; i++)
        {
            int row = i / _shape.HiddenSize;
            if (!float.IsFinite(_residual[i]) && _nonFiniteLayer[row] < 0)
            {
                _nonFiniteLayer[row] = layer;
            }
        }

        AfterLayer?.Invoke(layer, _residual);
    }
}
