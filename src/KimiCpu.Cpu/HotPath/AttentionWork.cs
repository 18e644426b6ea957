// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// Cuts the attention of a batch over the cached latents into items of work: groups of heads, for some consecutive rows of a
/// prompt, or for a single row, whose context is cut into segments where there are too few of these for all threads.
/// </summary>
internal sealed unsafe class AttentionWork : IDisposable
{
    /// <summary>Segments of many long contexts would take more memory than they save time: those rows alone occupy the threads.</summary>
    private const long MostPartBytes = 64L << 20;

    /// <summary>Items a thread, where contexts are cut: the last segment of each is a short one.</summary>
    private const int ItemsOfThread = 2;

    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly KvPages _pages;
    private readonly LatentAttention[] _kernels;
    private readonly PoolAction _attend;
    private readonly PoolAction _attendSegments;
    private readonly List<(int Row, int Count)> _rowGroups = [];
    private readonly AlignedBuffer<float> _parts = new();
    private int[] _sequenceOfRow = [];
    private int[] _firstSegment = [];
    private int _headGroup = LatentAttention.HeadGroup;
    private bool _inSegments;
    private RaggedBatch _batch = null!;
    private int _layer;
    private float* _query;
    private float* _context;

    public AttentionWork(ModelShape shape, WorkerPool pool, KvPages pages, BFloat16Products? products)
    {
        _shape = shape;
        _pool = pool;
        _pages = pages;
        _kernels = [.. Enumerable.Range(0, pool.Threads).Select(_ => new LatentAttention(shape, pages.IsBFloat16, products))];
        _attend = new PoolAction(Attend);
        _attendSegments = new PoolAction(AttendSegments);
    }

    private int HeadGroups => (_shape.HeadCount + _headGroup - 1) / _headGroup;

    private int PartWidth => AttentionPart.Width(_shape.KeyValueLoraRank);

    /// <summary>Index of the sequence that a row belongs to.</summary>
    public int SequenceOf(int row) => _sequenceOfRow[row];

    /// <summary>Cuts a batch; the same for all layers of a pass.</summary>
    public void Plan(RaggedBatch batch)
    {
        _batch = batch;
        int rows = batch.RowCount;
        if (_sequenceOfRow.Length < rows)
        {
            _sequenceOfRow = new int[rows];
            _firstSegment = new int[rows + 1];
        }

        _rowGroups.Clear();
        for (int s = 0; s < batch.Sequences.Length; s++)
        {
            BatchSequence sequence = batch.Sequences[s];
            _sequenceOfRow.AsSpan(sequence.FirstRow, sequence.RowCount).Fill(s);
            for (int row = 0; row < sequence.RowCount; row += LatentAttention.RowGroup)
            {
                _rowGroups.Add((sequence.FirstRow + row, Math.Min(LatentAttention.RowGroup, sequence.RowCount - row)));
            }
        }

        int threads = _pool.ActiveThreads;
        bool decodes = _rowGroups.Count == rows;
        _headGroup = decodes ? LatentAttention.HeadsTogether(_shape.HeadCount, rows, threads) : LatentAttention.HeadGroup;
        int fewestItems = rows * ((_shape.HeadCount + LatentAttention.MostQueries - 1) / LatentAttention.MostQueries);
        _inSegments = decodes && threads > 1 && fewestItems < ItemsOfThread * threads && CutContexts(threads);
    }

    /// <summary>Attends for all rows of the planned batch. Afterwards, <see cref="Finish"/> is due for every head.</summary>
    /// <param name="layer">Index of the layer, for the cache.</param>
    /// <param name="query">(rows, heads, kv_lora + rope): absorbed query, then rotated part, both times the softmax scale.</param>
    /// <param name="context">(rows, heads, kv_lora) receives the weighted mean of the latents.</param>
    public void Run(int layer, float* query, float* context)
    {
        _layer = layer;
        _query = query;
        _context = context;
        int rows = _batch.RowCount;
        if (_inSegments)
        {
            _parts.EnsureCapacity((long)_firstSegment[rows] * _shape.HeadCount * PartWidth);
            _pool.Run(_firstSegment[rows] * HeadGroups, _attendSegments);
        }
        else
        {
            _pool.Run(_rowGroups.Count * HeadGroups, _attend);
        }
    }

    /// <summary>Completes a head's contexts. Heads may be completed by several threads at once.</summary>
    public void Finish(int head)
    {
        for (int row = 0; row < _batch.RowCount && _inSegments; row++)
        {
            float* total = Part(_firstSegment[row], head);
            for (int segment = _firstSegment[row] + 1; segment < _firstSegment[row + 1]; segment++)
            {
                AttentionPart.Add(Part(segment, head), total, _shape.KeyValueLoraRank);
            }

            AttentionPart.Mean(total, _shape.KeyValueLoraRank, Context(row, head));
        }
    }

    public void Dispose()
    {
        Array.ForEach(_kernels, k => k.Dispose());
        _parts.Dispose();
    }

    /// <summary>Numbers the segments of all rows; false where no row has two, or they would take too much memory.</summary>
    private bool CutContexts(int threads)
    {
        int rows = _batch.RowCount;
        for (int row = 0; row < rows; row++)
        {
            _firstSegment[row + 1] = _firstSegment[row] + LatentAttention.SegmentsOf(_batch.Positions[row] + 1);
        }

        int segments = _firstSegment[rows];
        if (segments == rows || (long)segments * _shape.HeadCount * PartWidth * sizeof(float) > MostPartBytes)
        {
            return false;
        }

        _headGroup = LatentAttention.HeadsTogether(_shape.HeadCount, segments, ItemsOfThread * threads);
        return true;
    }

    /// <summary>Item: a group of heads for a group of consecutive tokens of a sequence.</summary>
    private void Attend(int begin, int end, int worker)
    {
        int groups = HeadGroups;
        for (int item = begin; item < end; item++)
        {
            (int row, int rows) = _rowGroups[item / groups];
            int head = item % groups * _headGroup;
            _kernels[worker].Attend(
                Query(row, head),
                (long)_shape.HeadCount * _shape.CacheWidth,
                rows,
                Math.Min(_headGroup, _shape.HeadCount - head),
                _pages,
                _layer,
                _batch.Sequences[_sequenceOfRow[row]].Pages.Span,
                _batch.Positions[row] + 1,
                Context(row, head),
                (long)_shape.HeadCount * _shape.KeyValueLoraRank);
        }
    }

    /// <summary>Item: a group of heads for a segment of a row's context.</summary>
    private void AttendSegments(int begin, int end, int worker)
    {
        int groups = HeadGroups;
        int row = 0;
        for (int item = begin; item < end; item++)
        {
            int segment = item / groups;
            while (_firstSegment[row + 1] <= segment)
            {
                row++;
            }

            int head = item % groups * _headGroup;
            _kernels[worker].AttendSegment(
                Query(row, head),
                Math.Min(_headGroup, _shape.HeadCount - head),
                _pages,
                _layer,
                _batch.Sequences[_sequenceOfRow[row]].Pages.Span,
                _batch.Positions[row] + 1,
                segment - _firstSegment[row],
                Part(segment, head));
        }
    }

    private float* Query(int row, int head) => _query + ((((long)row * _shape.HeadCount) + head) * _shape.CacheWidth);

    private float* Context(int row, int head) => _context + ((((long)row * _shape.HeadCount) + head) * _shape.KeyValueLoraRank);

    private float* Part(int segment, int head) => _parts.Pointer + ((((long)segment * _shape.HeadCount) + head) * PartWidth);
}
