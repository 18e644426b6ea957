// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>
/// Attention of many new tokens of a sequence over keys and values that are expanded from the cached latents, a segment of
/// the context at a time: each pair of tokens then costs nope + rope + v multiplications a head in place of 2 kv_lora + rope.
/// A head is an item of work, or a range of rows of one where heads do not go evenly into the threads (<see cref="PromptRanges"/>). Results depend neither on threads nor on what else is in the batch.
/// </summary>
internal sealed unsafe class PromptAttention : IDisposable
{
    /// <summary>
    /// New tokens from which on this is used. Below, expanding takes a large part of what it saves, and steps of the default
    /// size keep the bits of tokens that are computed one at a time.
    /// </summary>
    public const int UsualFewestRows = 512;

    /// <summary>Cached tokens that are expanded at a time.</summary>
    public const int SegmentTokens = 8 * KvPage.Tokens;

    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly KvPages _pages;
    private readonly BFloat16Products? _expanding;
    private readonly BFloat16Products? _attending;
    private readonly Scratch[] _scratch;
    private readonly PromptRanges _ranges;
    private readonly PoolAction _attend;
    private AttentionWeights _weights = null!;
    private BatchSequence _sequence;
    private RowRotation _rotation = null!;
    private int _layer;
    private float* _query;
    private float* _values;

    /// <param name="shape">Sizes.</param>
    /// <param name="pool">Shares the work.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="expanding">Multiplies a BF16 expansion with rounded latents; null to do so in single precision.</param>
    /// <param name="attending">Multiplies expanded keys and values, rounded to BF16, with rounded queries and weights; null to do so in single precision.</param>
    public PromptAttention(ModelShape shape, WorkerPool pool, KvPages pages, BFloat16Products? expanding, BFloat16Products? attending)
    {
        _shape = shape;
        _pool = pool;
        _pages = pages;
        _expanding = expanding;
        _attending = attending;
        FewestRows = pages.IsBFloat16 ? RowsThatPay(shape) : int.MaxValue;
        _scratch = [.. Enumerable.Range(0, pool.Threads).Select(_ => new Scratch(this))];
        _ranges = new PromptRanges(shape);
        _attend = new PoolAction(Attend);
    }

    /// <summary>New tokens of a sequence from which on its attention is computed here. Never, with a cache in F32, which is for exact results.</summary>
    public int FewestRows { get; }

    private int KeyWidth => _shape.NopeHeadSize + _shape.RopeHeadSize;

    private int ExpandedWidth => _shape.NopeHeadSize + _shape.ValueHeadSize;

    private int PartWidth => AttentionPart.Width(_shape.ValueHeadSize);

    /// <summary>
    /// A context token costs (nope + v) kv_lora multiplications a head to expand, and saves 2 kv_lora - nope - v for each row
    /// that attends to it.
    /// </summary>
    /// <returns>How many must; <see cref="int.MaxValue"/> where it never pays.</returns>
    public static int RowsThatPay(ModelShape shape)
    {
        int expanded = shape.NopeHeadSize + shape.ValueHeadSize;
        int saved = (2 * shape.KeyValueLoraRank) - expanded;
        return saved <= 0 ? int.MaxValue : Math.Max(UsualFewestRows, (expanded * shape.KeyValueLoraRank / saved) + 1);
    }

    /// <summary>Memory that each thread takes for steps of so many new tokens of a sequence; none for shorter ones than are attended to here.</summary>
    public static long BytesOfThread(ModelShape shape, int rows)
    {
        if (rows < RowsThatPay(shape))
        {
            return 0;
        }

        long expanded = shape.NopeHeadSize + shape.ValueHeadSize;
        long ofRow = shape.NopeHeadSize + shape.RopeHeadSize + AttentionPart.Width(shape.ValueHeadSize);
        long ofToken = shape.KeyValueLoraRank + expanded + expanded + shape.RopeHeadSize;
        long ofQuery = shape.NopeHeadSize + shape.RopeHeadSize + shape.ValueHeadSize + KvPage.Tokens;
        long rounded = sizeof(ushort) * SegmentTokens * (long)shape.KeyValueLoraRank;
        return rounded + (sizeof(float) * ((rows * ofRow) + (SegmentTokens * ofToken) + (LatentAttention.MostQueries * ofQuery)));
    }

    /// <summary>Attends for all new tokens of a sequence.</summary>
    /// <param name="layer">Index of the layer, for the cache.</param>
    /// <param name="weights">Its key and value expansion.</param>
    /// <param name="sequence">Which rows, over which pages.</param>
    /// <param name="rotation">Of the rows.</param>
    /// <param name="query">(batch rows, heads, nope + rope), not rotated yet.</param>
    /// <param name="values">(batch rows, heads, v) receives the weighted means of the values.</param>
    public void Run(int layer, AttentionWeights weights, in BatchSequence sequence, RowRotation rotation, float* query, float* values)
    {
        _layer = layer;
        _weights = weights;
        _sequence = sequence;
        _rotation = rotation;
        _query = query;
        _values = values;
        _ranges.Make(_sequence.Start, _sequence.RowCount, _pool.ActiveThreads);
        _pool.Run(_ranges.Items.Length, _attend);
    }

    public void Dispose() => Array.ForEach(_scratch, s => s.Dispose());

    /// <summary>Memory is made by the worker, so threads that take no part have none.</summary>
    private void Attend(int begin, int end, int worker)
    {
        Scratch scratch = _scratch[worker];
        scratch.Resize(_ranges.MostRows);
        foreach ((int head, int firstRow, int rows) in _ranges.Items[begin..end])
        {
            Attend(head, firstRow, rows, scratch);
        }
    }

    private void Attend(int head, int firstRow, int rows, Scratch scratch)
    {
        TakeQueries(head, firstRow, rows, scratch.RotatedQueries.Pointer);
        int start = _sequence.Start + firstRow;
        for (int first = 0; first < start + rows; first += SegmentTokens)
        {
            int tokens = Math.Min(SegmentTokens, start + rows - first);
            Expand(head, first, tokens, scratch);
            int row = Math.Max(0, first - start) / LatentAttention.MostQueries * LatentAttention.MostQueries;
            for (; row < rows; row += LatentAttention.MostQueries)
            {
                Visit(row, Math.Min(LatentAttention.MostQueries, rows - row), start + row + 1, first, tokens, scratch);
            }
        }

        for (int row = 0; row < rows; row++)
        {
            float* target = _values + (((((long)_sequence.FirstRow + firstRow + row) * _shape.HeadCount) + head) * _shape.ValueHeadSize);
            AttentionPart.Mean(scratch.Totals.Pointer + ((long)row * PartWidth), _shape.ValueHeadSize, target);
        }
    }

    /// <summary>(rows, nope + rope), rotated, times the softmax scale.</summary>
    private void TakeQueries(int head, int firstRow, int rows, float* target)
    {
        for (int row = 0; row < rows; row++, target += KeyWidth)
        {
            int batchRow = _sequence.FirstRow + firstRow + row;
            var rotated = new Span<float>(target, KeyWidth);
            new ReadOnlySpan<float>(_query + ((((long)batchRow * _shape.HeadCount) + head) * KeyWidth), KeyWidth).CopyTo(rotated);
            _rotation.Apply(batchRow, rotated[_shape.NopeHeadSize..]);
            RowMath.Scale(rotated, _shape.SoftmaxScale, rotated);
        }
    }

    /// <summary>A head's keys and values of a segment of the context.</summary>
    private void Expand(int head, int first, int tokens, Scratch scratch)
    {
        int rank = _shape.KeyValueLoraRank;
        float* latents = scratch.Latents.Pointer;
        for (int t = 0; t < tokens; t++)
        {
            WeightDecoder.DecodeBFloat16(Slot(first + t), new Span<float>(latents + (t * rank), rank));
        }

        int firstRow = head * ExpandedWidth;
        float* expanded = scratch.Expanded.Pointer;
        if (_expanding is not null && _weights.KeyValueB.Format == WeightFormat.BFloat16)
        {
            scratch.RoundedLatents.Set(latents, rank, tokens, rank);
            _expanding.Multiply(_weights.KeyValueB, firstRow, firstRow + ExpandedWidth, scratch.RoundedLatents, expanded - firstRow, ExpandedWidth);
        }
        else
        {
            FloatGemv.Multiply(_weights.KeyValueB, firstRow, firstRow + ExpandedWidth, latents, rank, tokens, expanded - firstRow, ExpandedWidth);
        }

        for (int t = 0; t < tokens; t++)
        {
            scratch.Store(t, expanded + (t * ExpandedWidth), (ushort*)Slot(first + t) + rank);
        }
    }

    /// <summary>Some rows, the first of which sees so many tokens, attend to the expanded segment.</summary>
    private void Visit(int row, int rows, int visible, int first, int tokens, Scratch scratch)
    {
        AttentionQueries queries = scratch.Queries;
        queries.Set(scratch.RotatedQueries.Pointer + ((long)row * KeyWidth), KeyWidth, rows, 1);
        queries.Clear();
        int end = Math.Min(first + tokens, visible + rows - 1);
        for (int page = first; page < end; page += KvPage.Tokens)
        {
            queries.Visit(scratch.Page(page - first), Math.Min(KvPage.Tokens, end - page), visible - page, null);
        }

        for (int i = 0; i < rows; i++)
        {
            queries.AddTo(i, first == 0, scratch.Totals.Pointer + ((long)(row + i) * PartWidth));
        }
    }

    private byte* Slot(int position) =>
        _pages.Slots(_sequence.Pages.Span[position / KvPage.Tokens], _layer) + ((long)(position % KvPage.Tokens) * _pages.SlotBytes);

    /// <summary>Memory of one worker; nothing before the first long prompt.</summary>
    private sealed class Scratch(PromptAttention owner) : IDisposable
    {
        private readonly bool _bfloat16 = owner._attending is not null;
        private readonly AlignedBuffer<byte> _keys = new();
        private readonly AlignedBuffer<byte> _values = new();
        private AttentionQueries? _queries;
        private BFloat16Tiles? _roundedLatents;

        public AttentionQueries Queries => _queries!;

        public BFloat16Tiles RoundedLatents => _roundedLatents!;

        /// <summary>(rows, nope + rope).</summary>
        public AlignedBuffer<float> RotatedQueries { get; } = new();

        /// <summary>(rows) parts.</summary>
        public AlignedBuffer<float> Totals { get; } = new();

        /// <summary>(segment's tokens, kv_lora).</summary>
        public AlignedBuffer<float> Latents { get; } = new();

        /// <summary>(segment's tokens, nope + v).</summary>
        public AlignedBuffer<float> Expanded { get; } = new();

        private int ElementBytes => _bfloat16 ? sizeof(ushort) : sizeof(float);

        public void Resize(int rows)
        {
            RotatedQueries.EnsureCapacity((long)rows * owner.KeyWidth);
            Totals.EnsureCapacity((long)rows * owner.PartWidth);
            if (_queries is not null)
            {
                return;
            }

            int valueWidth = owner._shape.ValueHeadSize;
            _roundedLatents ??= owner._expanding is null ? null : new BFloat16Tiles(owner._expanding.Tiles);
            Latents.EnsureCapacity((long)SegmentTokens * owner._shape.KeyValueLoraRank);
            Expanded.EnsureCapacity((long)SegmentTokens * owner.ExpandedWidth);
            _keys.EnsureCapacity((long)SegmentTokens * owner.KeyWidth * ElementBytes);
            _values.EnsureCapacity((long)SegmentTokens * valueWidth * ElementBytes);

            // Last, since it says that all is there.
            _queries = AttentionQueries.Best(owner.KeyWidth, valueWidth, _bfloat16, owner._attending);
        }

        /// <summary>Keeps a token's expanded key and value, and the rotated part of its key, which all heads share.</summary>
        public void Store(int token, float* expanded, ushort* rope)
        {
            int nope = owner._shape.NopeHeadSize, ropeSize = owner._shape.RopeHeadSize, valueSize = owner._shape.ValueHeadSize;
            byte* key = _keys.Pointer + ((long)token * owner.KeyWidth * ElementBytes);
            byte* value = _values.Pointer + ((long)token * valueSize * ElementBytes);
            if (_bfloat16)
            {
                BFloat16Rounding.Round(expanded, nope, (ushort*)key);
                new ReadOnlySpan<ushort>(rope, ropeSize).CopyTo(new Span<ushort>((ushort*)key + nope, ropeSize));
                BFloat16Rounding.Round(expanded + nope, valueSize, (ushort*)value);
                return;
            }

            new ReadOnlySpan<float>(expanded, nope).CopyTo(new Span<float>(key, nope));
            WeightDecoder.DecodeBFloat16((byte*)rope, new Span<float>((float*)key + nope, ropeSize));
            new ReadOnlySpan<float>(expanded + nope, valueSize).CopyTo(new Span<float>(value, valueSize));
        }

        /// <summary>The page that begins with a token of the segment.</summary>
        public KeyValuePage Page(int token)
        {
            long valueBytes = (long)owner._shape.ValueHeadSize * ElementBytes;
            return new KeyValuePage(_keys.Pointer + ((long)token * owner.KeyWidth * ElementBytes), _values.Pointer + (token * valueBytes), valueBytes);
        }

        public void Dispose()
        {
            _queries?.Dispose();
            _roundedLatents?.Dispose();
            RotatedQueries.Dispose();
            Totals.Dispose();
            Latents.Dispose();
            Expanded.Dispose();
            _keys.Dispose();
            _values.Dispose();
        }
    }
}
