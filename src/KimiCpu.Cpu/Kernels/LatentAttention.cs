// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.CodeGeneration;

namespace KimiCpu.Cpu.Kernels;

/// <summary>
/// One token's attention over the cached latents, for a few heads at a time, with the key and value expansions absorbed
/// (DeepSeek-V2, arXiv:2405.04434, section 2.1.2): the query lies in the latent space, a cached token is key (all of it)
/// and value (its latent part) at once. Pages are visited in order with a running softmax, which begins anew with each
/// segment of the context (<see cref="ContextSegments"/>); segments are added in order (<see cref="AttentionPart"/>). So a result depends on the token's own
/// history only, never on what else is in the batch or on who visits which segment (but see <see cref="AttentionQueries"/> on NaN). One instance a thread; it keeps scratch memory.
/// </summary>
internal sealed unsafe class LatentAttention : IDisposable
{
    /// <summary>Consecutive tokens of a prompt that pass over a page together.</summary>
    public const int RowGroup = 8;

    /// <summary>Heads of such tokens that do so.</summary>
    public const int HeadGroup = 8;

    /// <summary>Most queries, rows times heads, of a pass.</summary>
    public const int MostQueries = RowGroup * HeadGroup;

    private readonly int _latentSize;
    private readonly AttentionQueries _queries;
    private readonly AlignedBuffer<float> _totals;
    private readonly AlignedBuffer<float> _sums;
    private readonly AlignedBuffer<float> _pairs;

    /// <param name="shape">Sizes.</param>
    /// <param name="bfloat16">Whether the cache holds BF16; else F32.</param>
    /// <param name="products">Multiplies BF16 keys and values as they are, with queries and weights rounded to BF16; null to widen them to floats.</param>
    public LatentAttention(ModelShape shape, bool bfloat16, BFloat16Products? products = null)
    {
        _latentSize = shape.KeyValueLoraRank;
        _queries = AttentionQueries.Best(shape.CacheWidth, _latentSize, bfloat16, products);
        _totals = new AlignedBuffer<float>(MostQueries * PartWidth);
        _sums = new AlignedBuffer<float>(MostQueries * PartWidth);
        _pairs = new AlignedBuffer<float>(MostQueries * PartWidth);
    }

    /// <summary>Floats of a query's <see cref="AttentionPart"/>.</summary>
    public int PartWidth => AttentionPart.Width(_latentSize);

    /// <summary>Queries that take not much longer together than half of them.</summary>
    public int Lanes => _queries.Lanes;

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
        _queries.Set(query, queryStride, rows, heads);
        int end = visible + rows - 1;
        int segments = ContextSegments.Count(end);
        var cached = new Context(pages, layer, table, visible, end);
        long stride = (long)heads * PartWidth;
        for (int segment = 0, count; segment < segments; segment += count)
        {
            count = ContextSegments.Together(segment);
            if (count == 1)
            {
                Visit(segment, cached, end);
                Add(_totals.Pointer, stride, isFirst: segment == 0);
                continue;
            }

            Gather(segment, count, cached, end, segment == 0 ? _totals.Pointer : _sums.Pointer, stride);
            for (int i = 0; i < _queries.Count && segment > 0; i++)
            {
                AttentionPart.Add(_sums.Pointer + (i * PartWidth), _totals.Pointer + (i * PartWidth), _latentSize);
            }
        }

        for (int i = 0; i < _queries.Count; i++)
        {
            AttentionPart.Mean(_totals.Pointer + (i * PartWidth), _latentSize, context + (i / heads * contextStride) + (i % heads * (long)_latentSize));
        }
    }

    /// <summary>Attends for consecutive tokens of a sequence, as <see cref="Attend"/> does, over one segment of what they see, or some that follow each other.</summary>
    /// <param name="query">(rows, heads, kv_lora + rope).</param>
    /// <param name="queryStride">Floats from row to row.</param>
    /// <param name="rows">At least 1.</param>
    /// <param name="heads">At least 1; rows times heads at most <see cref="MostQueries"/>.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">Tokens that the first row sees, from the sequence's first on.</param>
    /// <param name="segment">Less than <see cref="ContextSegments.Count"/> of those that the last row sees.</param>
    /// <param name="count">All of <see cref="ContextSegments.Together"/>, or half or a quarter of them; the last ones may be behind the context's end.</param>
    /// <param name="parts">(rows, heads, <see cref="PartWidth"/>) receives an <see cref="AttentionPart"/> a row and head: their sum.</param>
    /// <param name="partStride">Floats from row to row.</param>
    public void AttendSegments(
        float* query, long queryStride, int rows, int heads, KvPages pages, int layer, ReadOnlySpan<int> table, int visible, int segment, int count, float* parts, long partStride)
    {
        _queries.Set(query, queryStride, rows, heads);
        int end = visible + rows - 1;
        Gather(segment, count, new Context(pages, layer, table, visible, end), Math.Min(ContextSegments.Begin(segment + count), end), parts, partStride);
    }

    public void Dispose()
    {
        _queries.Dispose();
        _totals.Dispose();
        _sums.Dispose();
        _pairs.Dispose();
    }

    /// <summary>The sum of one, two or four segments, by pairs.</summary>
    /// <param name="segment">The first.</param>
    /// <param name="count">How many; those behind the context's end add nothing.</param>
    /// <param name="context">Of which.</param>
    /// <param name="asked">Up to which token pages are read one after another.</param>
    /// <param name="parts">(rows, heads) receives the sums.</param>
    /// <param name="stride">Floats from row to row.</param>
    private void Gather(int segment, int count, in Context context, int asked, float* parts, long stride)
    {
        int there = Math.Min(count, ContextSegments.Count(context.End) - segment);
        long pairStride = (long)_queries.Heads * PartWidth;
        for (int i = 0; i < there; i++)
        {
            Visit(segment + i, context, asked);
            Add(i < 2 ? parts : _pairs.Pointer, i < 2 ? stride : pairStride, isFirst: i % 2 == 0);
        }

        for (int i = 0; i < _queries.Count && there > 2; i++)
        {
            AttentionPart.Add(_pairs.Pointer + (i * PartWidth), Part(parts, stride, i), _latentSize);
        }
    }

    /// <summary>Adds what was visited last.</summary>
    private void Add(float* parts, long stride, bool isFirst)
    {
        for (int i = 0; i < _queries.Count; i++)
        {
            _queries.AddTo(i, isFirst, Part(parts, stride, i));
        }
    }

    private float* Part(float* parts, long stride, int query) => parts + (query / _queries.Heads * stride) + (query % _queries.Heads * (long)PartWidth);

    /// <param name="segment">Which.</param>
    /// <param name="context">Of which.</param>
    /// <param name="asked">Up to which token pages are read one after another.</param>
    private void Visit(int segment, in Context context, int asked)
    {
        _queries.Clear();
        int behind = Math.Min(ContextSegments.Begin(segment + 1), context.End);
        for (int first = ContextSegments.Begin(segment); first < behind; first += KvPage.Tokens)
        {
            byte* next = first + KvPage.Tokens < asked ? context.Slots(first + KvPage.Tokens) : null;
            byte* slots = context.Slots(first);
            _queries.Visit(new KeyValuePage(slots, slots, context.Pages.SlotBytes), Math.Min(KvPage.Tokens, behind - first), context.Visible - first, next);
        }
    }

    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">Tokens that the first row sees.</param>
    /// <param name="end">Tokens that the last row sees.</param>
    private readonly ref struct Context(KvPages pages, int layer, ReadOnlySpan<int> table, int visible, int end)
    {
        private readonly ReadOnlySpan<int> _table = table;

        public KvPages Pages { get; } = pages;

        public int Visible { get; } = visible;

        public int End { get; } = end;

        /// <summary>Of the page with a token.</summary>
        public byte* Slots(int token) => Pages.Slots(_table[token / KvPage.Tokens], layer);
    }
}
