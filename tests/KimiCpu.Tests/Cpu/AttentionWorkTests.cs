// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.CodeGeneration;
using KimiCpu.Cpu.Kernels;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

/// <summary>Over a cache in BF16 with products of BF16 and in single precision, whichever this machine would take.</summary>
[TestFixture(true)]
[TestFixture(false)]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class AttentionWorkTests(bool rounds)
{
    private const int Layer = 1;

    /// <summary>The shortest segments, at a context's beginning.</summary>
    private static readonly int s_segment = ContextSegments.Begin(1);

    /// <summary>Contexts of one segment and of several, that end with one, within one and begin one, also where segments are longer.</summary>
    private static readonly int[] s_contexts = [5, s_segment, s_segment + 1, (3 * s_segment) - 7, ContextSegments.Begin(18), ContextSegments.Begin(18) + 1];

    [Test]
    public void Any_number_of_threads_gives_the_bits_of_one_that_visits_every_segment([Values(1, 2, 5)] int threads, [Values] bool bfloat16)
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(threads);
        using var pages = new KvPages(shape, bfloat16);
        RaggedBatch batch = Fill(shape, pages, [.. s_contexts.Select(context => (context, 1))]);
        float[] together = Run(shape, pool, pages, batch);
        Assert.That(together, Is.EqualTo(EachAlone(shape, pages, batch)));
    }

    /// <summary>Few enough rows that two threads cut contexts too.</summary>
    [Test]
    public void One_long_context_is_cut_for_any_number_of_threads_to_the_same_bits([Values(1, 2, 3, 8)] int threads, [Values] bool bfloat16)
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(threads);
        using var pages = new KvPages(shape, bfloat16);
        RaggedBatch batch = Fill(shape, pages, [((3 * s_segment) + 40, 1)]);
        Assert.That(Run(shape, pool, pages, batch), Is.EqualTo(EachAlone(shape, pages, batch)));
    }

    /// <summary>With many threads all contexts are cut, of the prompt's rows too, some of which end before the last segment; with eight not that of a short answer, and with four that of the longest alone.</summary>
    [Test]
    public void A_prompt_beside_answers_gives_the_bits_of_each_token_alone([Values(1, 4, 8, 16)] int threads, [Values] bool bfloat16)
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(threads);
        using var pages = new KvPages(shape, bfloat16);
        RaggedBatch batch = Fill(
            shape, pages, [(s_segment + 20, 1), (s_segment + 5, 11), (3, 1), ((4 * s_segment) + 1, 1)]);
        Assert.That(Run(shape, pool, pages, batch), Is.EqualTo(EachAlone(shape, pages, batch)));
        var plan = new AttentionPlan(shape, LatentAttention.HeadGroup);
        plan.Make(batch, int.MaxValue, threads);
        Assert.That(plan.Groups.ToArray().Select(g => g.Segments), Is.EqualTo(threads switch
        {
            1 => [1, 1, 1, 1, 1],
            4 => [1, 1, 1, 1, 5],
            8 => [1, 2, 1, 1, 5],
            _ => new[] { 2, 2, 2, 1, 5 },
        }));
    }

    [Test]
    public void Threads_that_begin_or_stop_taking_part_change_no_bits()
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(6);
        using var pages = new KvPages(shape, bfloat16: true);
        using var work = new AttentionWork(shape, pool, pages, Products(bfloat16: true));
        RaggedBatch batch = Fill(shape, pages, [((3 * s_segment) + 40, 1), (s_segment + 5, 11)]);
        float[] expected = EachAlone(shape, pages, batch);
        foreach (int threads in new[] { 6, 1, 4, 2, 6 })
        {
            pool.ActiveThreads = threads;
            Assert.That(Run(shape, pool, work, batch), Is.EqualTo(expected), $"{threads} threads");
        }
    }

    [Test]
    public void A_plan_is_made_anew_for_another_batch()
    {
        ModelShape shape = Shapes.Small();
        using var pool = new WorkerPool(4);
        using var pages = new KvPages(shape, bfloat16: true);
        using var work = new AttentionWork(shape, pool, pages, products: null);
        RaggedBatch batch = Fill(shape, pages, [(1400, 1)]);
        float[] first = Run(shape, pool, work, batch);
        RaggedBatch other = Batch([(3, 1), (2, 2)]);
        Run(shape, pool, work, other);
        Assert.That(Run(shape, pool, work, batch), Is.EqualTo(first));
    }

    private BFloat16Products? Products(bool bfloat16)
    {
        BFloat16Products? products = rounds ? TileKernel.Best().BFloat16Products : null;
        if (rounds && products is null)
        {
            Assert.Ignore("Needs AVX512_BF16, and executable memory.");
        }

        return bfloat16 ? products : null;
    }

    private float[] Run(ModelShape shape, WorkerPool pool, KvPages pages, RaggedBatch batch)
    {
        using var work = new AttentionWork(shape, pool, pages, Products(pages.IsBFloat16));
        return Run(shape, pool, work, batch);
    }

    private static float[] Run(ModelShape shape, WorkerPool pool, AttentionWork work, RaggedBatch batch)
    {
        float[] queries = Queries(shape, batch.RowCount);
        var contexts = new float[batch.RowCount * shape.HeadCount * shape.KeyValueLoraRank];
        work.Plan(batch);
        fixed (float* query = queries)
        fixed (float* context = contexts)
        {
            work.Run(Layer, query, context);
            pool.Run(shape.HeadCount, new PoolAction((begin, end, _) =>
            {
                for (int head = begin; head < end; head++)
                {
                    work.Finish(head);
                }
            }));
        }

        return contexts;
    }

    private float[] EachAlone(ModelShape shape, KvPages pages, RaggedBatch batch)
    {
        using var attention = new LatentAttention(shape, pages.IsBFloat16, Products(pages.IsBFloat16));
        float[] queries = Queries(shape, batch.RowCount);
        int width = shape.HeadCount * shape.KeyValueLoraRank;
        var contexts = new float[batch.RowCount * width];
        fixed (float* query = queries)
        fixed (float* context = contexts)
        {
            foreach (BatchSequence sequence in batch.Sequences)
            {
                for (int row = sequence.FirstRow; row < sequence.FirstRow + sequence.RowCount; row++)
                {
                    float* of = query + (row * shape.HeadCount * shape.CacheWidth);
                    attention.Attend(of, 0, 1, shape.HeadCount, pages, Layer, sequence.Pages.Span, batch.Positions[row] + 1, context + (row * width), 0);
                }
            }
        }

        return contexts;
    }

    private static float[] Queries(ModelShape shape, int rows)
    {
        var random = new Random(rows);
        return [.. Enumerable.Range(0, rows * shape.HeadCount * shape.CacheWidth).Select(_ => random.NextSingle() - 0.5f)];
    }

    /// <summary>Sequences of so many tokens, of which the last ones are new.</summary>
    private static RaggedBatch Batch((int Context, int Rows)[] sequences)
    {
        var batch = new RaggedBatch();
        int page = 0;
        foreach ((int context, int rows) in sequences)
        {
            int count = (context + KvPage.Tokens - 1) / KvPage.Tokens;
            batch.Add(new int[rows], context - rows, Enumerable.Range(page, count).ToArray(), LogitsWanted.None);
            page += count;
        }

        return batch;
    }

    private static RaggedBatch Fill(ModelShape shape, KvPages pages, (int Context, int Rows)[] sequences)
    {
        RaggedBatch batch = Batch(sequences);
        var random = new Random(1);
        pages.Reserve(batch.Sequences.ToArray().Sum(s => s.Pages.Length));
        foreach (BatchSequence sequence in batch.Sequences)
        {
            for (int t = 0; t < sequence.Start + sequence.RowCount; t++)
            {
                float[] values = [.. Enumerable.Range(0, shape.CacheWidth).Select(_ => random.NextSingle() - 0.5f)];
                pages.Write(sequence.Pages.Span[t / KvPage.Tokens], Layer, t % KvPage.Tokens, values);
            }
        }

        return batch;
    }
}
