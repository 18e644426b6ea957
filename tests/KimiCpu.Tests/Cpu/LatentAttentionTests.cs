// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class LatentAttentionTests
{
    /// <summary>How keys and values are cached and multiplied.</summary>
    public enum CacheKind
    {
        Float32,
        WidenedBFloat16,
        BFloat16Products,
    }

    [Test]
    public void Attention_over_pages_is_a_softmax_over_all_of_them(
        [Values(1, 2, 63, 64, 65, 200, 2350)] int visible, [Values(1, 4, 5, 8)] int heads, [Values(CacheKind.Float32, CacheKind.WidenedBFloat16)] CacheKind kind, [Values(1f, 300f)] float size)
    {
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, float[][] cache, int[] table) = Prepare(shape, pages, visible, heads, size);
        float[] actual = Run(shape, attention, pages, query, heads, table, visible);
        for (int h = 0; h < heads; h++)
        {
            double[] expected = Expected(shape, query.AsSpan(h * shape.CacheWidth, shape.CacheWidth), cache);
            for (int c = 0; c < shape.KeyValueLoraRank; c++)
            {
                Assert.That(actual[(h * shape.KeyValueLoraRank) + c], Is.EqualTo(expected[c]).Within(2e-5 * size), $"head {h}, column {c}");
            }
        }
    }

    /// <summary>In single precision, 96 columns of keys are multiplied at a time, and the rest is added.</summary>
    [Test]
    public void All_columns_of_wide_keys_count(
        [Values(186, 187, 378, 500)] int latent, [Values(1, 5, 19)] int heads, [Values(CacheKind.Float32, CacheKind.WidenedBFloat16)] CacheKind kind)
    {
        const int Visible = 70;
        ModelShape shape = Shapes.Small() with { KeyValueLoraRank = latent };
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, float[][] cache, int[] table) = Prepare(shape, pages, Visible, heads, 1);
        float[] actual = Run(shape, attention, pages, query, heads, table, Visible);
        for (int h = 0; h < heads; h++)
        {
            double[] expected = Expected(shape, query.AsSpan(h * shape.CacheWidth, shape.CacheWidth), cache);
            Assert.That(actual[(h * latent)..((h + 1) * latent)], Is.EqualTo(expected).Within(2e-5), $"head {h}");
        }
    }

    /// <summary>
    /// Both roundings are bounded by 2^-8 of a factor: of queries, which moves a weight by that much of its score, and of the
    /// weights themselves.
    /// </summary>
    [Test]
    public void Rounded_queries_and_weights_stay_near_the_softmax([Values(1, 2, 63, 64, 65, 200, 2350)] int visible, [Values(1, 5, 8)] int heads)
    {
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, CacheKind.BFloat16Products);
        using LatentAttention attention = AttentionOf(shape, CacheKind.BFloat16Products);
        (float[] query, float[][] cache, int[] table) = Prepare(shape, pages, visible, heads, 1);
        float[] actual = Run(shape, attention, pages, query, heads, table, visible);
        for (int h = 0; h < heads; h++)
        {
            double[] expected = Expected(shape, query.AsSpan(h * shape.CacheWidth, shape.CacheWidth), cache);
            for (int c = 0; c < shape.KeyValueLoraRank; c++)
            {
                Assert.That(actual[(h * shape.KeyValueLoraRank) + c], Is.EqualTo(expected[c]).Within(0.5 * 3 / 256), $"head {h}, column {c}");
            }
        }
    }

    /// <summary>
    /// With queries that are rounded already only the weights' rounding is left, 2^-9 of each, which moves the mean by no more than that part of
    /// what the largest values add. Large values make weights of pages that come later dwarf those before, and the other way round.
    /// </summary>
    [Test]
    public void Weights_are_rounded_to_nearest_and_pages_come_to_a_common_maximum(
        [Values(40, 187, 500)] int latent, [Values(1, 19, 64)] int heads, [Values(1f, 30f, 300f)] float size)
    {
        const int Visible = 200;
        ModelShape shape = Shapes.Small() with { KeyValueLoraRank = latent };
        using KvPages pages = PagesOf(shape, CacheKind.BFloat16Products);
        using LatentAttention attention = AttentionOf(shape, CacheKind.BFloat16Products);
        (float[] query, float[][] cache, int[] table) = Prepare(shape, pages, Visible, heads, size);
        float[] rounded = [.. query.Select(v => BFloat16.ToSingle(BFloat16.FromSingle(v)))];
        float[] actual = Run(shape, attention, pages, query, heads, table, Visible);
        double bias = 0;
        for (int h = 0; h < heads; h++)
        {
            double[] expected = Expected(shape, rounded.AsSpan(h * shape.CacheWidth, shape.CacheWidth), cache);
            float[] head = actual[(h * latent)..((h + 1) * latent)];
            Assert.That(head, Is.EqualTo(expected).Within(1.5 * size / 1024), $"head {h}");
            bias += expected.Zip(head, (e, a) => (a - e) * e).Sum() / expected.Sum(e => e * e);
        }

        // Weights that were cut off would all be too small, by more than 2^-9 on average, and means with them.
        Assert.That(bias / heads, Is.EqualTo(0).Within(0.0015));
    }

    [Test]
    public void A_head_does_not_depend_on_the_heads_beside_it([Values(8, 19, LatentAttention.MostQueries)] int heads, [Values] CacheKind kind)
    {
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, _, int[] table) = Prepare(shape, pages, 150, heads, 1);
        float[] together = Run(shape, attention, pages, query, heads, table, 150);
        for (int h = 0; h < heads; h++)
        {
            float[] alone = Run(shape, attention, pages, query[(h * shape.CacheWidth)..((h + 1) * shape.CacheWidth)], 1, table, 150);
            Assert.That(together.AsSpan(h * shape.KeyValueLoraRank, shape.KeyValueLoraRank).ToArray(), Is.EqualTo(alone));
        }
    }

    [Test]
    public void Tokens_that_pass_over_the_pages_together_give_the_bits_of_each_alone([Values(1, 60, 64, 120, 2300)] int visible, [Values] CacheKind kind)
    {
        const int Rows = LatentAttention.RowGroup;
        const int Heads = 3;
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, _, int[] table) = Prepare(shape, pages, visible + Rows, Rows * Heads, 1);
        int queryStride = Heads * shape.CacheWidth;
        int contextStride = Heads * shape.KeyValueLoraRank;
        var together = new float[Rows * contextStride];
        fixed (float* q = query)
        fixed (float* y = together)
        {
            attention.Attend(q, queryStride, Rows, Heads, pages, 1, table, visible, y, contextStride);
        }

        for (int r = 0; r < Rows; r++)
        {
            float[] alone = Run(shape, attention, pages, query[(r * queryStride)..((r + 1) * queryStride)], Heads, table, visible + r);
            Assert.That(together.AsSpan(r * contextStride, contextStride).ToArray(), Is.EqualTo(alone), $"row {r}");
        }
    }

    [Test]
    public void A_NaN_in_the_cache_reaches_the_result_and_what_lies_behind_the_end_does_not([Values] CacheKind kind)
    {
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, _, int[] table) = Prepare(shape, pages, 100, 2, 1);
        float[] before = Run(shape, attention, pages, query, 2, table, 70);
        pages.Write(table[1], 1, 70 - KvPage.Tokens, [.. Enumerable.Repeat(float.NaN, shape.CacheWidth)]);
        Assert.That(Run(shape, attention, pages, query, 2, table, 70), Is.EqualTo(before));
        Assert.That(Run(shape, attention, pages, query, 2, table, 71), Is.All.NaN);
    }

    /// <summary>The first token of a segment sees nothing of it but itself.</summary>
    [Test]
    public void A_NaN_that_is_all_of_a_segment_reaches_the_result([Values(0, 1, 2, 17)] int segment, [Values] CacheKind kind)
    {
        int position = ContextSegments.Begin(segment);
        ModelShape shape = Shapes.Small();
        using KvPages pages = PagesOf(shape, kind);
        using LatentAttention attention = AttentionOf(shape, kind);
        (float[] query, _, int[] table) = Prepare(shape, pages, position + 1, 2, 1);
        pages.Write(table[position / KvPage.Tokens], 1, position % KvPage.Tokens, [.. Enumerable.Repeat(float.NaN, shape.CacheWidth)]);
        Assert.That(Run(shape, attention, pages, query, 2, table, position + 1), Is.All.NaN);
    }

    private static KvPages PagesOf(ModelShape shape, CacheKind kind) => new(shape, bfloat16: kind != CacheKind.Float32);

    private static LatentAttention AttentionOf(ModelShape shape, CacheKind kind)
    {
        if (kind != CacheKind.BFloat16Products)
        {
            return new LatentAttention(shape, bfloat16: kind == CacheKind.WidenedBFloat16);
        }

        if (TileKernel.Best().BFloat16Products is not { } products)
        {
            Assert.Ignore("Needs AVX512_BF16, and executable memory.");
            throw new InvalidOperationException();
        }

        return new LatentAttention(shape, bfloat16: true, products);
    }

    private static (float[] Query, float[][] Cache, int[] Table) Prepare(ModelShape shape, KvPages pages, int tokens, int heads, float size)
    {
        var random = new Random(tokens);
        int count = (tokens + KvPage.Tokens - 1) / KvPage.Tokens;
        pages.Reserve(count + 3);

        // Pages out of order, as after reuse.
        int[] table = [.. Enumerable.Range(0, count).Select(i => count + 2 - i)];
        var cache = new float[tokens][];
        for (int t = 0; t < tokens; t++)
        {
            float[] row = [.. Enumerable.Range(0, shape.CacheWidth).Select(_ => (random.NextSingle() - 0.5f) * size)];
            cache[t] = pages.IsBFloat16 ? [.. row.Select(v => BFloat16.ToSingle(BFloat16.FromSingle(v)))] : row;
            pages.Write(table[t / KvPage.Tokens], 1, t % KvPage.Tokens, row);
        }

        return ([.. Enumerable.Range(0, heads * shape.CacheWidth).Select(_ => random.NextSingle() - 0.5f)], cache, table);
    }

    private static float[] Run(ModelShape shape, LatentAttention attention, KvPages pages, float[] query, int heads, int[] table, int visible)
    {
        var context = new float[heads * shape.KeyValueLoraRank];
        fixed (float* q = query)
        fixed (float* y = context)
        {
            attention.Attend(q, 0, 1, heads, pages, 1, table, visible, y, 0);
        }

        return context;
    }

    private static double[] Expected(ModelShape shape, ReadOnlySpan<float> query, float[][] cache)
    {
        var scores = new double[cache.Length];
        for (int t = 0; t < cache.Length; t++)
        {
            for (int c = 0; c < shape.CacheWidth; c++)
            {
                scores[t] += (double)query[c] * cache[t][c];
            }
        }

        KimiCpu.Compute.Reference.ReferenceOps.Softmax(scores);
        return [.. Enumerable.Range(0, shape.KeyValueLoraRank).Select(c => cache.Select((row, t) => scores[t] * row[c]).Sum())];
    }
}
