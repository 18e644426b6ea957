// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Embedding, attention, dense layers, router and head on the CPU; the shared experts run with the routed ones. Weights
/// are read as stored, times single-precision activations or, where they are BF16 and the CPU multiplies that, BF16 ones; or
/// as 8-bit copies. Every row of a batch is computed in the same order whatever other sequences are in the batch; how many rows its own has
/// decides how it attends (<see cref="PromptAttention"/>).
/// </summary>
internal sealed unsafe class CpuHotPath : IHotPath
{
    private readonly ModelWeights _weights;
    private readonly HotWeights _hot;
    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly KvPages _pages;
    private readonly HotPathReads _reads;
    private readonly LinearWork _linear;
    private readonly CpuAttention _attention;
    private readonly Router[] _routers;
    private readonly LookAhead? _lookAhead;
    private readonly PoolAction _normalizeInput;
    private readonly PoolAction _finishAttention;
    private readonly PoolAction _activate;
    private readonly PoolAction _add;
    private readonly PoolAction _route;

    private readonly AlignedBuffer<float> _residual = new();
    private readonly AlignedBuffer<float> _normalized = new();
    private readonly AlignedBuffer<float> _output = new();
    private readonly AlignedBuffer<float> _gate = new();
    private readonly AlignedBuffer<float> _up = new();
    private readonly AlignedBuffer<float> _routerLogits = new();
    private readonly AlignedBuffer<int> _experts = new();
    private readonly AlignedBuffer<float> _expertWeights = new();
    private int[] _nonFiniteLayer = [];

    private RaggedBatch _batch = new();
    private LayerWeights _layer = null!;
    private LayerWeights? _next;
    private int _layerIndex;
    private int _width;

    /// <param name="weights">As stored.</param>
    /// <param name="hot">Those of them that are computed with.</param>
    /// <param name="pool">Runs everything.</param>
    /// <param name="precision">Of activations and cache.</param>
    /// <param name="kernel">For 8-bit copies, and BF16 weights where it can.</param>
    /// <param name="lookAhead">Whether to predict the next layer's experts.</param>
    public CpuHotPath(ModelWeights weights, HotWeights hot, WorkerPool pool, ComputePrecision precision, TileKernel kernel, bool lookAhead = false)
    {
        _weights = weights;
        _hot = hot;
        _shape = weights.Shape;
        _pool = pool;
        _pages = new KvPages(_shape, bfloat16: precision == ComputePrecision.Fast);
        HotPathReads stored = HotPathReads.AsStored(weights, _pages.BytesPerPage);
        _lookAhead = lookAhead ? new LookAhead(_shape, pool.Threads) : null;
        long lookAheadBytes = lookAhead ? HotPathReads.OfLookAhead(weights) : 0;
        _reads = stored with { Weights = stored.Weights - hot.Layers.Sum(l => l.SavedBytes) + lookAheadBytes, Head = hot.Head.Bytes };
        _linear = new LinearWork(pool, kernel, precision);
        _attention = new CpuAttention(_shape, pool, _pages, _linear, kernel);
        _routers = [.. Enumerable.Range(0, pool.Threads).Select(_ => new Router(_shape))];
        _normalizeInput = new PoolAction((begin, end, _) => Normalize(_layer.InputNorm, begin, end));
        _finishAttention = new PoolAction(FinishAttention);
        _activate = new PoolAction(Activate);
        _add = new PoolAction(Add);
        _route = new PoolAction(Route);
    }

    public int MaxRows => int.MaxValue;

    public int EfficientRows => _attention.FewestLongRows;

    public long BytesPerPage => _pages.BytesPerPage;

    public long BytesRead(RaggedBatch batch) => _reads.Of(batch);

    public void ReservePages(int count) => _pages.Reserve(count);

    public void CopyPage(int source, int target) => _pages.Copy(source, target);

    public void ReadPage(int page, int tokens, Span<byte> bytes) => _pages.Read(page, tokens, bytes);

    public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes) => _pages.Write(page, tokens, bytes);

    public void Begin(RaggedBatch batch)
    {
        _batch = batch;
        _linear.Clear();
        int rows = batch.RowCount;
        _pool.SuitRows(rows);
        long size = (long)rows * _shape.HiddenSize;
        _residual.EnsureCapacity(size);
        _normalized.EnsureCapacity(size);
        _output.EnsureCapacity(size);
        if (_nonFiniteLayer.Length < rows)
        {
            _nonFiniteLayer = new int[rows];
        }

        _nonFiniteLayer.AsSpan().Fill(-1);
        for (int row = 0; row < rows; row++)
        {
            WeightDecoder.DecodeRow(_weights.Embedding, batch.Tokens[row], Row(_residual, row));
        }
    }

    public RoutedRows Attend(int layer)
    {
        _layer = _weights.Layers[layer];
        _layerIndex = layer;
        _next = _lookAhead is not null && _layer.IsMoe ? _weights.NextMoeLayer(layer) : null;
        int rows = _batch.RowCount;
        _lookAhead?.Reserve(rows);
        _pool.Run(rows, _normalizeInput);
        _attention.Run(layer, _layer.Attention, _hot.Layers[layer], _batch, _normalized.Pointer, _output.Pointer);
        _pool.Run(rows, _finishAttention);
        if (_hot.Layers[layer].Dense is { } dense)
        {
            Mlp(dense);
            _pool.Run(rows, _add);
            return default;
        }

        _routerLogits.EnsureCapacity((long)rows * _shape.ExpertCount);
        _experts.EnsureCapacity((long)rows * _shape.ExpertsPerToken);
        _expertWeights.EnsureCapacity((long)rows * _shape.ExpertsPerToken);

        // Rounding would change which experts are chosen where two are about as good.
        _linear.Add(new HotMatrix(_layer.Router!.Gate), _normalized.Pointer, _routerLogits.Pointer, exactInput: true);
        if (_next is not null)
        {
            _linear.Add(new HotMatrix(_next.Router!.Gate), _normalized.Pointer, _lookAhead!.Logits, exactInput: true);
        }

        _linear.Run(rows);
        _pool.Run(rows, _route);
        return new RoutedRows(rows, _normalized.Pointer, _experts.Pointer, _expertWeights.Pointer, _next is null ? null : _lookAhead!.Experts);
    }

    /// <summary>Nothing to start: the shared expert runs in the passes of the routed ones, which add it to their sum.</summary>
    public void StartShared(int layer)
    {
    }

    /// <summary>In the place of the attention's output, which has been added.</summary>
    public Span<float> RoutedSum => new(_output.Pointer, _batch.RowCount * _shape.HiddenSize);

    public void Finish(int layer) => _pool.Run(_batch.RowCount, _add);

    public void Logits(ReadOnlySpan<int> rows, Span<float> logits)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(logits.Length, rows.Length * _shape.VocabularySize);
        for (int i = 0; i < rows.Length; i++)
        {
            RmsNorm.Apply(Row(_residual, rows[i]), _weights.FinalNorm, _shape.NormEpsilon, Row(_normalized, i));
        }

        fixed (float* target = logits)
        {
            _linear.Add(_hot.Head, _normalized.Pointer, target).Run(rows.Length);
        }
    }

    public int NonFiniteLayer(int row) => _nonFiniteLayer[row];

    public void Dispose()
    {
        _attention.Dispose();
        _linear.Dispose();
        _pages.Dispose();
        _residual.Dispose();
        _normalized.Dispose();
        _output.Dispose();
        _gate.Dispose();
        _up.Dispose();
        _routerLogits.Dispose();
        _experts.Dispose();
        _expertWeights.Dispose();
        _lookAhead?.Dispose();
    }

    private Span<float> Row(AlignedBuffer<float> buffer, int row) => new(buffer.Pointer + ((long)row * _shape.HiddenSize), _shape.HiddenSize);

    private void Normalize(float[] weight, int begin, int end)
    {
        for (int row = begin; row < end; row++)
        {
            RmsNorm.Apply(Row(_residual, row), weight, _shape.NormEpsilon, Row(_normalized, row));
        }
    }

    /// <summary>Adds the attention's output to the residual and normalizes for the MLP.</summary>
    private void FinishAttention(int begin, int end, int worker)
    {
        for (int row = begin; row < end; row++)
        {
            Span<float> residual = Row(_residual, row);
            RowMath.Add(residual, Row(_output, row));
        }

        Normalize(_layer.PostAttentionNorm, begin, end);
    }

    /// <summary>down(silu(gate(x)) * up(x)) of the normalized rows, into the output rows.</summary>
    private void Mlp(HotMlp weights)
    {
        int rows = _batch.RowCount;
        _width = weights.Gate.Rows;
        long size = (long)rows * _width;
        _linear
            .Add(weights.Gate, _normalized.Pointer, _gate.EnsureCapacity(size))
            .Add(weights.Up, _normalized.Pointer, _up.EnsureCapacity(size))
            .Run(rows);
        _pool.Run(rows, _activate);
        _linear.Add(weights.Down, _gate.Pointer, _output.Pointer).Run(rows);
    }

    private void Activate(int begin, int end, int worker)
    {
        for (int row = begin; row < end; row++)
        {
            long at = (long)row * _width;
            SwiGlu.Apply(new Span<float>(_gate.Pointer + at, _width), new ReadOnlySpan<float>(_up.Pointer + at, _width));
        }
    }

    /// <summary>Adds an MLP's output to the residual.</summary>
    private void Add(int begin, int end, int worker)
    {
        for (int row = begin; row < end; row++)
        {
            Span<float> residual = Row(_residual, row);
            RowMath.Add(residual, Row(_output, row));
            NoteIfNotFinite(row, residual);
        }
    }

    private void Route(int begin, int end, int worker)
    {
        int experts = _shape.ExpertCount;
        int chosen = _shape.ExpertsPerToken;
        for (int row = begin; row < end; row++)
        {
            _routers[worker].Route(
                new ReadOnlySpan<float>(_routerLogits.Pointer + ((long)row * experts), experts),
                _layer.Router!.CorrectionBias,
                new Span<int>(_experts.Pointer + ((long)row * chosen), chosen),
                new Span<float>(_expertWeights.Pointer + ((long)row * chosen), chosen));
            if (_next is not null)
            {
                _lookAhead!.Route(row, _routers[worker], _next.Router!.CorrectionBias, worker);
            }
        }
    }

    private void NoteIfNotFinite(int row, ReadOnlySpan<float> residual)
    {
        if (_nonFiniteLayer[row] < 0 && !RowMath.IsFinite(CpuFeatures.Best, residual))
        {
            _nonFiniteLayer[row] = _layerIndex;
        }
    }
}
