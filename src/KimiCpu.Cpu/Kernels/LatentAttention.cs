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

    /// <param name="shape">Sizes.</param>
    /// <param name="bfloat16">Whether the cache holds BF16; else F32.</param>
    /// <param name="products">Multiplies BF16 keys and values as they are, with queries and weights rounded to BF16; null to widen them to floats.</param>
    public LatentAttention(ModelShape shape, bool bfloat16, BFloat16Products? products = null)
    {
        _latentSize = shape.KeyValueLoraRank;
        _queries = AttentionQueries.Best(shape.CacheWidth, _latentSize, bfloat16, products);
        _totals = new AlignedBuffer<float>(MostQueries * PartWidth);
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
        int queries = rows * heads;
        int segments = ContextSegments.Count(visible + rows - 1);
        for (int segment = 0; segment < segments; segment++)
        {
            Visit(segment, pages, layer, table, visible, visible + rows - 1, goesOn: true);
            for (int i = 0; i < queries; i++)
            {
                _queries.AddTo(i, segment == 0, _totals.Pointer + (i * PartWidth));
            }
        }

        for (int i = 0; i < queries; i++)
        {
            AttentionPart.Mean(_totals.Pointer + (i * PartWidth), _latentSize, context + (i / heads * contextStride) + (i % heads * (long)_latentSize));
        }
    }

    /// <summary>Attends for consecutive tokens of a sequence, as <see cref="Attend"/> does, over one segment of what they see.</summary>
    /// <param name="query">(rows, heads, kv_lora + rope).</param>
    /// <param name="queryStride">Floats from row to row.</param>
    /// <param name="rows">At least 1.</param>
    /// <param name="heads">At least 1; rows times heads at most <see cref="MostQueries"/>.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">Tokens that the first row sees, from the sequence's first on.</param>
    /// <param name="segment">Less than <see cref="ContextSegments.Count"/> of those that the last row sees.</param>
    /// <param name="parts">(rows, heads, <see cref="PartWidth"/>) receives an <see cref="AttentionPart"/> a row and head.</param>
    /// <param name="partStride">Floats from row to row.</param>
    public void AttendSegment(
        float* query, long queryStride, int rows, int heads, KvPages pages, int layer, ReadOnlySpan<int> table, int visible, int segment, float* parts, long partStride)
    {
        _queries.Set(query, queryStride, rows, heads);
        Visit(segment, pages, layer, table, visible, visible + rows - 1, goesOn: false);
        for (int i = 0; i < rows * heads; i++)
        {
            _queries.Write(i, parts + (i / heads * partStride) + (i % heads * (long)PartWidth));
        }
    }

    public void Dispose()
    {
        _queries.Dispose();
        _totals.Dispose();
    }

    /// <param name="segment">Which.</param>
    /// <param name="pages">Storage of the cache.</param>
    /// <param name="layer">Which layer's slots.</param>
    /// <param name="table">The sequence's pages.</param>
    /// <param name="visible">Tokens that the first row sees.</param>
    /// <param name="end">Tokens that the last row sees.</param>
    /// <param name="goesOn">Whether the next segment is visited next.</param>
    private void Visit(int segment, KvPages pages, int layer, ReadOnlySpan<int> table, int visible, int end, bool goesOn)
    {
        _queries.Clear();
        int behind = Math.Min(ContextSegments.Begin(segment + 1), end);
        int asked = goesOn ? end : behind;
        for (int first = ContextSegments.Begin(segment); first < behind; first += KvPage.Tokens)
        {
            int page = first / KvPage.Tokens;
            byte* next = first + KvPage.Tokens < asked ? pages.Slots(table[page + 1], layer) : null;
            byte* slots = pages.Slots(table[page], layer);
            _queries.Visit(new KeyValuePage(slots, slots, pages.SlotBytes), Math.Min(KvPage.Tokens, behind - first), visible - first, next);
        }
    }
}
