// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class AttentionPlanTests
{
    /// <summary>Tokens whose segments are added to each other first.</summary>
    private const int Long = 512;

    /// <summary>The shortest, at a context's beginning.</summary>
    private static readonly int s_segment = ContextSegments.Begin(1);

    /// <summary>As Kimi K2 attends.</summary>
    private static readonly ModelShape s_shape = Shapes.Small() with { HeadCount = 64, KeyValueLoraRank = 512, RopeHeadSize = 64 };

    [TestCase(64, 1, 1, 64)]
    [TestCase(64, 1, 2, 32)]
    [TestCase(64, 1, 64, 8)]
    [TestCase(64, 16, 2, 64)]
    [TestCase(20, 1, 3, 8)]
    [TestCase(1, 1, 8, 1)]
    public void Heads_that_decode_together_leave_every_thread_an_item(int headCount, int rows, int threads, int expected)
    {
        AttentionPlan plan = Plan(s_shape with { HeadCount = headCount }, threads, [.. Enumerable.Repeat((s_segment, 1), rows)]);
        Assert.That(plan.Items.ToArray().Max(i => i.Heads), Is.EqualTo(expected));
    }

    /// <summary>As many as come to a thread each stay whole; the others, and all where one for each is too uneven, are cut.</summary>
    [Test]
    public void Contexts_are_cut_where_answers_alone_leave_threads_idle([Values(1, 2, 3, 4, 20)] int answers, [Values(1, 2, 16, 64)] int threads)
    {
        AttentionPlan plan = Plan(s_shape, threads, [.. Enumerable.Repeat((10_000, 1), answers)]);
        Assert.That(plan.Groups.ToArray().Count(g => g.IsCut), Is.EqualTo(threads == 1 ? 0 : answers % threads));
    }

    /// <summary>A vector of heads takes a segment in not much more time than half of them, where they lie in its lanes, so it is not cut.</summary>
    [TestCase(1, 32, 16, 16)]
    [TestCase(1, 32, 8, 16)]
    [TestCase(1, 64, 16, 16)]
    [TestCase(1, 64, 8, 8)]
    [TestCase(2, 32, 16, 16)]
    [TestCase(2, 64, 16, 8)]
    public void Heads_of_a_segment_fill_lanes(int rows, int threads, int lanes, int expected)
    {
        AttentionPlan plan = Plan(s_shape, threads, [(8 * s_segment, rows)], lanes: lanes);
        Assert.That(plan.Groups[0].IsCut);
        Assert.That(plan.Items.ToArray().Select(i => i.Heads), Is.All.EqualTo(expected));
    }

    /// <summary>A piece for each of few threads takes longer in all than one for all heads, so the end cannot be even; but threads never take longer than a segment each.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Threads_end_at_about_the_same_time([Values(2, 12, 16, 24, 48, 64, 96)] int threads, [Values(8, 16)] int lanes)
    {
        List<double> ratios = [];
        for (int segments = 2; segments <= 400; segments++)
        {
            double even = (double)Plan(s_shape, 1, [(segments * Long, 1)], lanes: lanes).Items.ToArray().Sum(i => i.Cost) / threads;
            double ratio = End(Plan(s_shape, threads, [(segments * Long, 1)], lanes: lanes), threads) / even;
            Assert.That(ratio, Is.LessThan(Math.Max(1.36, (threads / (double)segments) + 1e-9)), $"{segments} segments");
            if (segments >= threads)
            {
                ratios.Add(ratio);
            }
        }

        Assert.That(ratios.Average(), Is.LessThan(1.12));
    }

    /// <summary>What most conversations are: a piece of 512 tokens for each of four vectors of heads would occupy a quarter of the threads, and be the only work of a layer's attention.</summary>
    [TestCase(16, 512)]
    [TestCase(16, 1024)]
    [TestCase(32, 1024)]
    [TestCase(32, 2048)]
    [TestCase(64, 2048)]
    public void A_short_context_occupies_many_threads(int threads, int context)
    {
        AttentionPlan plan = Plan(s_shape, threads, [(context, 1)], lanes: 16);
        Assert.That(End(plan, threads), Is.LessThanOrEqualTo(1.01 * plan.Items.ToArray().Sum(i => i.Cost) / threads));
    }

    /// <summary>What is beyond one or two for each thread would keep most of them waiting.</summary>
    [Test]
    public void Alike_answers_end_at_about_the_same_time([Values(2, 16, 24)] int threads, [Range(1, 70, 3)] int answers)
    {
        AttentionPlan plan = Plan(s_shape, threads, [.. Enumerable.Repeat((10_000, 1), answers)]);
        Assert.That(End(plan, threads), Is.LessThanOrEqualTo(1.25 * plan.Items.ToArray().Sum(i => i.Cost) / threads));
    }

    /// <summary>Widening a page takes as long for eight queries as for 64.</summary>
    [Test]
    public void Most_segments_of_a_long_context_have_all_heads_in_one_item()
    {
        AttentionItem[] items = Plan(s_shape, 96, [(196 * Long, 1)], lanes: 16).Items.ToArray();
        Assert.That(items.Count(i => i.Heads == 64), Is.EqualTo(2 * 96));
        Assert.That(items.Where(i => i.Heads < 64).Select(i => i.Heads), Is.All.LessThanOrEqualTo(16));
    }

    [Test]
    public void Each_head_sees_each_segment_once([Values(1, 8, 11, 30)] int rows, [Values(1, 2, 7, 64)] int threads, [Values(20, 64)] int headCount)
    {
        AttentionPlan plan = Plan(s_shape with { HeadCount = headCount }, threads, [(700, 1), (5000, rows), (40, 1), (5000, 1)]);
        AttentionRows[] groups = plan.Groups.ToArray();
        (int Group, int Segment, int Head)[] seen =
        [
            .. from item in plan.Items.ToArray()
               from segment in Enumerable.Range(item.Segment, Math.Min(item.Segments, groups[item.Group].Segments - item.Segment))
               from head in Enumerable.Range(item.Head, item.Heads)
               select (item.Group, segment, head),
        ];
        Assert.That(seen, Is.Unique);
        Assert.That(seen, Has.Length.EqualTo(groups.Sum(g => g.Segments) * headCount));
        Assert.That(plan.Items.ToArray().Select(i => i.Heads * groups[i.Group].Rows), Is.All.LessThanOrEqualTo(LatentAttention.MostQueries));
    }

    [Test]
    public void An_answer_with_a_long_context_is_cut_beside_a_prompt_that_enters([Values(16, 64)] int threads, [Values(1, 2)] int answers)
    {
        AttentionPlan plan = Plan(s_shape, threads, [(200, 200), .. Enumerable.Repeat((50_000, 1), answers), (400, 1)]);
        AttentionRows[] groups = plan.Groups.ToArray();
        Assert.That(groups.Where(g => g.Visible == 50_000).Select(g => g.IsCut), Has.Exactly(answers).True.And.None.False);
        Assert.That(groups.Where(g => g.Visible < 50_000).Select(g => g.IsCut), Is.All.False);
        Assert.That(End(plan, threads), Is.LessThanOrEqualTo(1.2 * plan.Items.ToArray().Sum(i => i.Cost) / threads));
    }

    [Test]
    public void It_is_cut_beside_a_prompt_that_somebody_else_attends_for()
    {
        AttentionPlan plan = Plan(s_shape, 8, [(600, 600), (50_000, 1)], tooManyRows: 512);
        Assert.That(plan.Groups.ToArray().Select(g => (g.Row, g.IsCut)), Is.EqualTo(new[] { (600, true) }));
    }

    [Test]
    public void Short_contexts_beside_a_long_one_stay_whole()
    {
        AttentionPlan plan = Plan(s_shape, 4, [(s_segment + 1, 1), (ContextSegments.Begin(30), 1), (s_segment + 1, 1)]);
        Assert.That(plan.Groups.ToArray().Select(g => g.Segments), Is.EqualTo(new[] { 1, 30, 1 }));
    }

    [Test]
    public void Few_rows_of_a_prompt_over_a_long_context_are_cut_together()
    {
        AttentionPlan plan = Plan(s_shape, 64, [(5000, 11)]);
        AttentionRows[] groups = plan.Groups.ToArray();
        Assert.That(groups.Select(g => (g.Row, g.Rows, g.Segments)), Is.EqualTo(new[] { (0, 8, 28), (8, 3, 28) }));
        Assert.That(groups.Select(g => g.FirstPart), Is.EquivalentTo(new[] { 0, groups[0].FirstPart == 0 ? 28 * 8 * 64 : 28 * 3 * 64 }));
        Assert.That(plan.PartCount, Is.EqualTo(28 * 11 * 64));
    }

    /// <summary>Kimi K2's longest context, and several that have as many tokens together.</summary>
    [Test]
    public void The_longest_contexts_occupy_all_threads([Values(1, 2, 4)] int answers)
    {
        AttentionPlan plan = Plan(s_shape, 64, [.. Enumerable.Repeat((262_144 / answers, 1), answers)], lanes: 16);
        Assert.That(plan.Groups.ToArray().Select(g => g.IsCut), Is.All.True);
        Assert.That(plan.Items.Length, Is.EqualTo(512));
        Assert.That(End(plan, 64), Is.EqualTo(plan.Items.ToArray().Sum(i => i.Cost) / 64));
    }

    /// <summary>Of 131,072 tokens, parts of fourteen contexts take what memory is for them; the heads of the others occupy the threads.</summary>
    [Test]
    public void Parts_of_many_long_contexts_would_take_too_much_memory()
    {
        AttentionPlan plan = Plan(s_shape, 64, [.. Enumerable.Repeat((131_072, 1), 20)], lanes: 16);
        AttentionRows[] groups = plan.Groups.ToArray();
        Assert.That(groups.Count(g => g.IsCut), Is.EqualTo(14));
        Assert.That(plan.PartCount * AttentionPart.Width(s_shape.KeyValueLoraRank) * sizeof(float), Is.LessThanOrEqualTo(AttentionPlan.MostPartBytes));
        Assert.That(plan.Items.ToArray().Where(i => !groups[i.Group].IsCut).Select(i => i.Heads), Is.All.LessThan(64));
        Assert.That(End(plan, 64), Is.LessThanOrEqualTo(1.3 * plan.Items.ToArray().Sum(i => i.Cost) / 64));
    }

    /// <summary>Few threads are occupied by parts of few contexts, and belong to machines with less memory.</summary>
    [Test]
    public void Parts_take_memory_in_proportion_to_the_threads([Values(2, 4, 16)] int threads)
    {
        AttentionPlan plan = Plan(s_shape, threads, [.. Enumerable.Repeat((131_072, 1), 21)], lanes: 16);
        long most = threads == 16 ? 16 * AttentionPlan.PartBytesOfThread : AttentionPlan.LeastPartBytes;
        Assert.That(plan.PartCount * AttentionPart.Width(s_shape.KeyValueLoraRank) * sizeof(float), Is.LessThanOrEqualTo(most));
        Assert.That(End(plan, threads), Is.LessThanOrEqualTo(1.15 * plan.Items.ToArray().Sum(i => i.Cost) / threads));
    }

    [Test]
    public void Two_of_the_longest_contexts_are_cut_whatever_the_threads([Values(2, 3, 4, 8)] int threads, [Values(1, 2)] int answers)
    {
        AttentionPlan plan = Plan(s_shape, threads, [.. Enumerable.Repeat((262_144, 1), answers)], lanes: 16);
        Assert.That(End(plan, threads), Is.LessThanOrEqualTo(1.07 * answers * Plan(s_shape, 1, [(262_144, 1)], lanes: 16).Items.ToArray().Sum(i => i.Cost) / threads));
    }

    private static AttentionPlan Plan(ModelShape shape, int threads, (int Context, int Rows)[] sequences, int tooManyRows = int.MaxValue, int lanes = LatentAttention.HeadGroup)
    {
        var batch = new RaggedBatch();
        foreach ((int context, int rows) in sequences)
        {
            batch.Add(new int[rows], context - rows, new int[(context + KvPage.Tokens - 1) / KvPage.Tokens], LogitsWanted.None);
        }

        var plan = new AttentionPlan(shape, lanes);
        plan.Make(batch, tooManyRows, threads);
        return plan;
    }

    /// <summary>When the last thread of a pool is done: each takes a quarter of what is left of its share, then single items of the others'.</summary>
    private static long End(AttentionPlan plan, int threads)
    {
        AttentionItem[] items = plan.Items.ToArray();
        int[] end = [.. plan.ShareEnds];
        int[] begin = [0, .. end.SkipLast(1)];
        var idle = new PriorityQueue<int, (long, int)>(Enumerable.Range(0, threads).Select(t => (t, (0L, t))));
        long last = 0;
        while (idle.TryDequeue(out int thread, out (long Time, int) at))
        {
            int other = Enumerable.Range(thread, threads).Select(t => t % threads).FirstOrDefault(t => end[t] > begin[t], -1);
            if (other < 0)
            {
                last = Math.Max(last, at.Time);
                continue;
            }

            int taken = other == thread ? (end[thread] - begin[thread] + 3) / 4 : 1;
            int first = other == thread ? begin[thread] : end[other] - 1;
            (begin[other], end[other]) = other == thread ? (first + taken, end[thread]) : (begin[other], first);
            idle.Enqueue(thread, (at.Time + items.AsSpan(first, taken).ToArray().Sum(i => i.Cost), thread));
        }

        return last;
    }
}
