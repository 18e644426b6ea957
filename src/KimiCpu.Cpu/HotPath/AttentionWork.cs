// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// The attention of a batch over the cached latents, in the items of an <see cref="AttentionPlan"/>. What threads gathered over
/// segments of a context is added in order, head by head.
/// </summary>
internal sealed unsafe class AttentionWork : IDisposable
{
    private readonly ModelShape _shape;
    private readonly WorkerPool _pool;
    private readonly KvPages _pages;
    private readonly LatentAttention[] _kernels;
    private readonly AttentionPlan _plan;
    private readonly PoolAction _attend;
    private readonly AlignedBuffer<float> _parts = new();
    private readonly int[] _shareEnds;
    private int[] _sequenceOfRow = [];
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
        _plan = new AttentionPlan(shape, _kernels[0].Lanes);
        _attend = new PoolAction(Attend);
        _shareEnds = new int[pool.Threads];
    }

    private int PartWidth => AttentionPart.Width(_shape.KeyValueLoraRank);

    /// <summary>Index of the sequence that a row belongs to.</summary>
    public int SequenceOf(int row) => _sequenceOfRow[row];

    /// <summary>Cuts a batch; the same for all layers of a pass.</summary>
    /// <param name="batch">Its sequences.</param>
    /// <param name="tooManyRows">Sequences with so many new tokens are left to somebody else.</param>
    public void Plan(RaggedBatch batch, int tooManyRows = int.MaxValue)
    {
        _batch = batch;
        if (_sequenceOfRow.Length < batch.RowCount)
        {
            _sequenceOfRow = new int[batch.RowCount];
        }

        for (int s = 0; s < batch.Sequences.Length; s++)
        {
            _sequenceOfRow.AsSpan(batch.Sequences[s].FirstRow, batch.Sequences[s].RowCount).Fill(s);
        }

        _plan.Make(batch, tooManyRows, _pool.ActiveThreads);
        for (int node = 0, thread = 0; node < _pool.NodeCount; node++)
        {
            (int first, int count) = _pool.ActiveOf(node);
            _plan.ShareEnds.Slice(thread, count).CopyTo(_shareEnds.AsSpan(first));
            thread += count;

            // Those who are not active have none; later nodes' workers get their own.
            _shareEnds.AsSpan(first + count).Fill(thread == 0 ? 0 : _plan.ShareEnds[thread - 1]);
        }
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
        MakeRoom(_plan.PartCount * PartWidth);
        _pool.RunShares(_shareEnds, _attend);
    }

    /// <summary>Completes a head's contexts. Heads may be completed by several threads at once.</summary>
    public void Finish(int head)
    {
        foreach (AttentionRows group in _plan.Groups)
        {
            for (int row = 0; row < group.Rows && group.IsCut; row++)
            {
                float* total = Part(group, 0, row, head);
                for (int segment = 0, count; segment < group.Segments; segment += count)
                {
                    count = ContextSegments.Together(segment);
                    AddTogether(group, segment, count, row, head);
                    if (segment > 0)
                    {
                        AttentionPart.Add(Part(group, segment, row, head), total, _shape.KeyValueLoraRank);
                    }
                }

                AttentionPart.Mean(total, _shape.KeyValueLoraRank, Context(group.Row + row, head));
            }
        }
    }

    public void Dispose()
    {
        Array.ForEach(_kernels, k => k.Dispose());
        _parts.Dispose();
    }

    /// <summary>Adds segments by pairs, and pairs of pairs, to the first. Those that an item has added already are empty.</summary>
    private void AddTogether(in AttentionRows group, int segment, int count, int row, int head)
    {
        for (int width = 1; width < count; width *= 2)
        {
            for (int i = 0; i + width < count && segment + i + width < group.Segments; i += 2 * width)
            {
                AttentionPart.Add(Part(group, segment + i + width, row, head), Part(group, segment + i, row, head), _shape.KeyValueLoraRank);
            }
        }
    }

    /// <summary>Contexts grow by a segment now and then, each time to need more: a quarter more than that is asked for.</summary>
    private void MakeRoom(long floats)
    {
        if (floats > _parts.Capacity)
        {
            _parts.EnsureCapacity(floats + (floats / 4));
        }
    }

    private void Attend(int begin, int end, int worker)
    {
        foreach (AttentionItem item in _plan.Items[begin..end])
        {
            Attend(_plan.Groups[item.Group], item, _kernels[worker]);
        }
    }

    private void Attend(in AttentionRows group, in AttentionItem item, LatentAttention kernel)
    {
        (_, int segment, int segments, int head, int heads, _) = item;
        long queryStride = (long)_shape.HeadCount * _shape.CacheWidth;
        ReadOnlySpan<int> table = _batch.Sequences[group.Sequence].Pages.Span;
        int visible = group.Visible - group.Rows + 1;
        if (group.IsCut)
        {
            long partStride = (long)_shape.HeadCount * PartWidth;
            kernel.AttendSegments(Query(group.Row, head), queryStride, group.Rows, heads, _pages, _layer, table, visible, segment, segments, Part(group, segment, 0, head), partStride);
            Empty(group, segment + 1, Math.Min(segment + segments, group.Segments), head, heads);
        }
        else
        {
            long contextStride = (long)_shape.HeadCount * _shape.KeyValueLoraRank;
            kernel.Attend(Query(group.Row, head), queryStride, group.Rows, heads, _pages, _layer, table, visible, Context(group.Row, head), contextStride);
        }
    }

    private void Empty(in AttentionRows group, int segment, int end, int head, int heads)
    {
        for (; segment < end; segment++)
        {
            for (int row = 0; row < group.Rows; row++)
            {
                for (int h = head; h < head + heads; h++)
                {
                    AttentionPart.SetSums(Part(group, segment, row, h), _shape.KeyValueLoraRank, float.MinValue, 0);
                }
            }
        }
    }

    private float* Query(int row, int head) => _query + ((((long)row * _shape.HeadCount) + head) * _shape.CacheWidth);

    private float* Context(int row, int head) => _context + ((((long)row * _shape.HeadCount) + head) * _shape.KeyValueLoraRank);

    private float* Part(in AttentionRows group, int segment, int row, int head) =>
        _parts.Pointer + ((group.FirstPart + ((((long)segment * group.Rows) + row) * _shape.HeadCount) + head) * PartWidth);
}
