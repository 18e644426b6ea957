// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>With attention in BF16 and in single precision, whichever this machine would take.</summary>
[TestFixture(true)]
[TestFixture(false)]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class PromptAttentionTests(bool rounds)
{
    private const int Layer = 1;

    /// <summary>Of queries: with it, a few tokens of a context weigh most.</summary>
    private const float Peaked = 20;

    /// <summary>Of what the values add, each by itself: weights are rounded to BF16, 2^-9 of each, and here and there a query or a key falls to the other side of a tie.</summary>
    private const double MostRounding = 2.0 / 512;

    /// <summary>The same in single precision.</summary>
    private const double MostError = 1e-4;

    [SetUp]
    public void RequireProducts()
    {
        if (rounds && TileKernel.Best().BFloat16Products is null)
        {
            Assert.Ignore("Needs AVX512_BF16, and executable memory.");
        }
    }

    [TestCase(512, 128, 64, 128, 512, TestName = "Kimi K2 would pay from 171 tokens on, and begins where expanding is a small part")]
    [TestCase(128, 128, 64, 128, int.MaxValue, TestName = "A latent as wide as a head's key and value never pays")]
    [TestCase(130, 128, 64, 128, 8321, TestName = "One that is a little wider pays late")]
    public void Operations_say_when_it_pays(int latent, int nope, int rope, int value, int expected)
    {
        ModelShape shape = Shapes.Small() with { KeyValueLoraRank = latent, NopeHeadSize = nope, RopeHeadSize = rope, ValueHeadSize = value };
        using var pool = new WorkerPool(1);
        using var pages = new KvPages(shape, bfloat16: true);
        using var attention = new PromptAttention(shape, pool, pages, expanding: null, attending: null);
        Assert.That(attention.FewestRows, Is.EqualTo(expected));
        using var exactPages = new KvPages(shape, bfloat16: false);
        using var exact = new PromptAttention(shape, pool, exactPages, expanding: null, attending: null);
        Assert.That(exact.FewestRows, Is.EqualTo(int.MaxValue));
    }

    /// <summary>A few tokens weigh most, so that one that is missed or rotated otherwise is seen.</summary>
    [Test]
    public void Rows_attend_as_the_formula_says(
        [Values(0, 63, 500, 530, 1010)] int start, [Values(1, 64, 70)] int rows, [Values(WeightFormat.BFloat16, WeightFormat.Float32)] WeightFormat format)
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(2);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, format);
        float[][] cache = Fill(shape, pages, start + rows);
        float[] query = Query(shape, rows, Peaked);
        RaggedBatch batch = Batch(start, rows);
        float[] actual = Run(shape, pool, pages, expansion.Matrix, batch, query);
        for (int row = 0; row < rows; row++)
        {
            // Some, and those around the beginning of a segment.
            if (row % 23 != 0 && Math.Abs(((start + row + 256) % PromptAttention.SegmentTokens) - 256) > 1)
            {
                continue;
            }

            for (int head = 0; head < shape.HeadCount; head += 4)
            {
                AssertMeans(shape, expansion.Matrix, cache, query, row, start + row, head, actual);
            }
        }
    }

    /// <summary>A checkpoint may store the expansion as anything.</summary>
    [Test]
    public void Rows_attend_over_an_expansion_of_any_format(
        [Values(WeightFormat.Float16, WeightFormat.Float8Block, WeightFormat.Int4Group32)] WeightFormat format)
    {
        ModelShape shape = Shapes.Small() with { KeyValueLoraRank = 64 };
        using var pool = new WorkerPool(2);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, format);
        float[][] cache = Fill(shape, pages, 570);
        float[] query = Query(shape, 70, Peaked);
        float[] actual = Run(shape, pool, pages, expansion.Matrix, Batch(500, 70), query);
        foreach (int row in new[] { 0, 11, 12, 13, 69 })
        {
            for (int head = 0; head < shape.HeadCount; head += 5)
            {
                AssertMeans(shape, expansion.Matrix, cache, query, row, 500 + row, head, actual);
            }
        }
    }

    /// <summary>More threads than heads cut their rows too, and fewer those of the heads that are left.</summary>
    [Test]
    public void Results_depend_on_no_number_of_threads([Values(8, 24, 44)] int threads)
    {
        ModelShape shape = Shapes.Small();
        using var one = new WorkerPool(1);
        using var many = new WorkerPool(threads);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, WeightFormat.BFloat16);
        Fill(shape, pages, 940);
        float[] query = Query(shape, 500);
        RaggedBatch batch = Batch(440, 500);
        var ranges = new PromptRanges(shape);
        ranges.Make(440, 500, threads);
        Assert.That(ranges.Items.Length, Is.GreaterThan(shape.HeadCount));
        float[] expected = Run(shape, one, pages, expansion.Matrix, batch, query);
        Assert.That(Run(shape, many, pages, expansion.Matrix, batch, query), Is.EqualTo(expected));
    }

    [Test]
    public void Threads_that_begin_or_stop_taking_part_change_no_bits()
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(24);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, WeightFormat.BFloat16);
        using var attention = Attention(shape, pool, pages);
        Fill(shape, pages, 300);
        float[] query = Query(shape, 300);
        float[]? expected = null;
        foreach (int threads in new[] { 24, 1, 16, 5, 24 })
        {
            pool.ActiveThreads = threads;
            float[] actual = Run(shape, attention, expansion.Matrix, Batch(0, 300), query);
            Assert.That(actual, Is.EqualTo(expected ?? actual), $"{threads} threads");
            expected = actual;
        }
    }

    [Test]
    public void Results_depend_neither_on_threads_nor_on_the_rows_of_others()
    {
        ModelShape shape = Shapes.Small();
        using var one = new WorkerPool(1);
        using var three = new WorkerPool(3);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, WeightFormat.BFloat16);
        Fill(shape, pages, 600);
        float[] query = Query(shape, 90);
        float[] all = Run(shape, one, pages, expansion.Matrix, Batch(510, 90), query);
        Assert.That(Run(shape, three, pages, expansion.Matrix, Batch(510, 90), query), Is.EqualTo(all));
        int width = shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize);
        int behind = shape.HeadCount * shape.ValueHeadSize;
        float[] last = Run(shape, one, pages, expansion.Matrix, Batch(540, 60), query[(30 * width)..]);
        Assert.That(last, Is.EqualTo(all[(30 * behind)..]));
    }

    [Test]
    public void A_NaN_in_the_cache_reaches_the_rows_that_see_it_and_none_that_pass_elsewhere()
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(2);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, WeightFormat.BFloat16);
        Fill(shape, pages, 200);
        float[] query = Query(shape, 100);
        float[] before = Run(shape, pool, pages, expansion.Matrix, Batch(100, 100), query);
        pages.Write(190 / KvPage.Tokens, Layer, 190 % KvPage.Tokens, [.. Enumerable.Repeat(float.NaN, shape.CacheWidth)]);
        float[] after = Run(shape, pool, pages, expansion.Matrix, Batch(100, 100), query);
        int width = shape.HeadCount * shape.ValueHeadSize;
        Assert.That(after[(90 * width)..], Is.All.NaN);
        int group = LatentAttention.MostQueries * width;
        Assert.That(after[..group], Is.EqualTo(before[..group]), "rows that pass over other pages");
    }

    /// <summary>The first token of a segment sees nothing of it but itself, whatever its place among the rows that pass together.</summary>
    [Test]
    public void A_NaN_that_is_all_of_a_segment_reaches_the_row_that_sees_it(
        [Values(PromptAttention.SegmentTokens, 2 * PromptAttention.SegmentTokens)] int position, [Values(0, 1, LatentAttention.MostQueries - 1, LatentAttention.MostQueries)] int before)
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(2);
        using var pages = new KvPages(shape, bfloat16: true);
        using RandomMatrix expansion = Expansion(shape, WeightFormat.BFloat16);
        Fill(shape, pages, position + 1);
        pages.Write(position / KvPage.Tokens, Layer, position % KvPage.Tokens, [.. Enumerable.Repeat(float.NaN, shape.CacheWidth)]);
        float[] values = Run(shape, pool, pages, expansion.Matrix, Batch(position - before, before + 1), Query(shape, before + 1));
        Assert.That(values[(before * shape.HeadCount * shape.ValueHeadSize)..], Is.All.NaN);
    }

    private PromptAttention Attention(ModelShape shape, WorkerPool pool, KvPages pages)
    {
        BFloat16Products? products = TileKernel.Best().BFloat16Products;
        return new PromptAttention(shape, pool, pages, products, rounds ? products : null);
    }

    private float[] Run(ModelShape shape, WorkerPool pool, KvPages pages, WeightMatrix expansion, RaggedBatch batch, float[] queries)
    {
        using var attention = Attention(shape, pool, pages);
        return Run(shape, attention, expansion, batch, queries);
    }

    private static float[] Run(ModelShape shape, PromptAttention attention, WeightMatrix expansion, RaggedBatch batch, float[] queries)
    {
        var rotation = new RowRotation(shape.Rotary, shape.RopeHeadSize);
        rotation.Prepare(batch);
        var weights = new AttentionWeights
        {
            QueryA = default,
            QueryANorm = [],
            QueryB = default,
            KeyValueA = default,
            KeyValueANorm = [],
            KeyValueB = expansion,
            Output = default,
        };
        var result = new float[batch.RowCount * shape.HeadCount * shape.ValueHeadSize];
        fixed (float* query = queries)
        fixed (float* values = result)
        {
            attention.Run(Layer, weights, batch.Sequences[0], rotation, query, values);
        }

        return result;
    }

    private static RandomMatrix Expansion(ModelShape shape, WeightFormat format) =>
        new(format, shape.HeadCount * (shape.NopeHeadSize + shape.ValueHeadSize), shape.KeyValueLoraRank, 5);

    private static float[] Query(ModelShape shape, int rows, float size = 1)
    {
        var random = new Random(2);
        return [.. Enumerable.Range(0, rows * shape.HeadCount * (shape.NopeHeadSize + shape.RopeHeadSize)).Select(_ => (random.NextSingle() - 0.5f) * size)];
    }

    private static RaggedBatch Batch(int start, int rows)
    {
        var batch = new RaggedBatch();
        batch.Add(new int[rows], start, Enumerable.Range(0, (start + rows + KvPage.Tokens - 1) / KvPage.Tokens).ToArray(), LogitsWanted.None);
        return batch;
    }

    /// <summary>Writes random tokens; returns them as they are kept.</summary>
    private static float[][] Fill(ModelShape shape, KvPages pages, int tokens)
    {
        var random = new Random(3);
        pages.Reserve((tokens + KvPage.Tokens - 1) / KvPage.Tokens);
        var cache = new float[tokens][];
        for (int t = 0; t < tokens; t++)
        {
            float[] row = [.. Enumerable.Range(0, shape.CacheWidth).Select(_ => (random.NextSingle() - 0.5f) / 2)];
            cache[t] = [.. row.Select(v => BFloat16.ToSingle(BFloat16.FromSingle(v)))];
            pages.Write(t / KvPage.Tokens, Layer, t % KvPage.Tokens, row);
        }

        return cache;
    }

    /// <summary>Compares a row's values of a head with the formula, over what queries, keys and values are once they are rounded.</summary>
    private void AssertMeans(ModelShape shape, WeightMatrix expansion, float[][] cache, float[] query, int row, int position, int head, float[] actual)
    {
        int width = shape.NopeHeadSize + shape.RopeHeadSize;
        float[] own = query[(((row * shape.HeadCount) + head) * width)..][..width];
        KimiCpu.Compute.Reference.ReferenceOps.Rotate(shape.Rotary, position, own.AsSpan(shape.NopeHeadSize));
        double[] kept = [.. own.Select(v => Kept(v * shape.SoftmaxScale))];
        var scores = new double[position + 1];
        var values = new double[position + 1][];
        for (int t = 0; t <= position; t++)
        {
            double[] expanded = [.. Enumerable.Range(0, shape.NopeHeadSize + shape.ValueHeadSize).Select(r => Kept(Dot(expansion, (head * (shape.NopeHeadSize + shape.ValueHeadSize)) + r, cache[t])))];
            values[t] = expanded[shape.NopeHeadSize..];
            for (int c = 0; c < width; c++)
            {
                scores[t] += kept[c] * (c < shape.NopeHeadSize ? expanded[c] : cache[t][shape.KeyValueLoraRank + c - shape.NopeHeadSize]);
            }
        }

        KimiCpu.Compute.Reference.ReferenceOps.Softmax(scores);
        int at = ((row * shape.HeadCount) + head) * shape.ValueHeadSize;
        for (int i = 0; i < shape.ValueHeadSize; i++)
        {
            double size = scores.Select((s, t) => s * Math.Abs(values[t][i])).Sum();
            Assert.That(actual[at + i], Is.EqualTo(scores.Select((s, t) => s * values[t][i]).Sum()).Within((rounds ? MostRounding : MostError) * size), $"row {row}, head {head}, value {i}");
        }
    }

    /// <summary>As expanded keys and values are kept.</summary>
    private double Kept(double value) => rounds ? BFloat16.ToSingle(BFloat16.FromSingle((float)value)) : value;

    private static double Dot(WeightMatrix weight, int row, float[] latent)
    {
        var decoded = new float[weight.Columns];
        WeightDecoder.DecodeRow(weight, row, decoded);
        return decoded.Select((w, c) => (double)w * latent[c]).Sum();
    }
}
