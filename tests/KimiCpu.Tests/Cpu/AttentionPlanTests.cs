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
    private const int Segment = LatentAttention.SegmentTokens;

    /// <summary>As Kimi K2 attends.</summary>
    private static readonly ModelShape s_shape = Shapes.Small() with { HeadCount = 64, KeyValueLoraRank = 512, RopeHeadSize = 64 };

    [TestCase(64, 1, 1, 64)]
    [TestCase(64, 1, 2, 32)]
    [TestCase(64, 1, 64, 8)]
    [TestCase(64, 16, 2, 64)]
    [TestCase(20, 1, 3, 8)]
    [TestCase(1, 1, 8, 8)]
    public void Heads_that_decode_together_leave_every_thread_an_item(int headCount, int rows, int threads, int expected)
    {
        AttentionPlan plan = Plan(s_shape with { HeadCount = headCount }, threads, [.. Enumerable.Repeat((Segment, 1), rows)]);
        Assert.That(plan.Groups.ToArray().Select(g => g.Heads), Is.All.EqualTo(expected));
    }

    [Test]
    public void Contexts_are_cut_where_answers_alone_leave_threads_idle([Values(1, 2, 3, 4, 20)] int answers, [Values(1, 2, 16, 64)] int threads)
    {
        AttentionPlan plan = Plan(s_shape, threads, [.. Enumerable.Repeat((10_000, 1), answers)]);
        bool cut = threads > 1 && answers < 2 * threads;
        Assert.That(plan.Groups.ToArray().Select(g => g.IsCut), Is.All.EqualTo(cut));
        Assert.That(plan.ItemCount, Is.GreaterThanOrEqualTo(cut ? 2 * threads : answers));
    }

    /// <summary>A vector of heads takes a segment in not much more time than half of them, where they lie in its lanes.</summary>
    [TestCase(1, 32, 16, 16)]
    [TestCase(1, 32, 8, 8)]
    [TestCase(1, 64, 16, 8)]
    [TestCase(2, 32, 16, 8)]
    public void Heads_of_a_segment_fill_lanes_while_each_thread_has_one(int rows, int threads, int lanes, int expected)
    {
        AttentionPlan plan = Plan(s_shape, threads, [(8 * Segment, rows)], lanes: lanes);
        Assert.That(plan.Groups[0].IsCut);
        Assert.That(plan.Groups[0].Heads, Is.EqualTo(expected));
    }

    [Test]
    public void An_answer_with_a_long_context_is_cut_beside_a_prompt_that_enters([Values(16, 64)] int threads, [Values(1, 2)] int answers)
    {
        AttentionPlan plan = Plan(s_shape, threads, [(200, 200), .. Enumerable.Repeat((50_000, 1), answers), (400, 1)]);
        AttentionRows[] groups = plan.Groups.ToArray();
        Assert.That(groups.Where(g => g.Visible == 50_000).Select(g => g.IsCut), Has.Exactly(answers).True.And.None.False);
        Assert.That(groups.Where(g => g.Visible < 50_000).Select(g => g.IsCut), Is.All.False);
        Assert.That(groups.Max(ItemWork), Is.LessThanOrEqualTo(Work(groups) / threads));
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
        AttentionPlan plan = Plan(s_shape, 4, [(Segment + 1, 1), (30 * Segment, 1), (Segment + 1, 1)]);
        Assert.That(plan.Groups.ToArray().Select(g => g.Segments), Is.EqualTo(new[] { 1, 30, 1 }));
    }

    [Test]
    public void Few_rows_of_a_prompt_over_a_long_context_are_cut_together()
    {
        AttentionPlan plan = Plan(s_shape, 64, [(5000, 11)]);
        AttentionRows[] groups = plan.Groups.ToArray();
        Assert.That(groups.Select(g => (g.Row, g.Rows, g.Segments)), Is.EqualTo(new[] { (0, 8, 10), (8, 3, 10) }));
        Assert.That(groups[1].FirstPart, Is.EqualTo(10 * 8 * 64));
        Assert.That(plan.PartCount, Is.EqualTo(10 * 11 * 64));
        Assert.That(groups[1].FirstItem, Is.EqualTo(10 * plan.HeadGroups(groups[0])));
    }

    /// <summary>Of 131,072 tokens, parts of one context take half of the memory that is for them.</summary>
    [Test]
    public void Parts_of_many_long_contexts_would_take_too_much_memory()
    {
        const int Tokens = 131_072;
        Assert.That(Cuts(1), Is.EqualTo(1));
        Assert.That(Cuts(4), Is.Zero);
        AttentionPlan longest = Plan(s_shape, 64, [(Tokens / 2, 1), (Tokens, 1), (Tokens / 2, 1), (Tokens / 2, 1)]);
        Assert.That(longest.Groups.ToArray().Select(g => g.IsCut), Is.EqualTo(new[] { false, true, false, false }));

        int Cuts(int answers)
        {
            AttentionPlan plan = Plan(s_shape, 64, [.. Enumerable.Repeat((Tokens, 1), answers)]);
            Assert.That(plan.PartCount * AttentionPart.Width(s_shape.KeyValueLoraRank) * sizeof(float), Is.LessThanOrEqualTo(AttentionPlan.MostPartBytes));
            return plan.Groups.ToArray().Count(g => g.IsCut);
        }
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

    private static long ItemWork(AttentionRows group) => (long)group.Rows * group.Heads * (group.IsCut ? Segment : group.Visible);

    private static long Work(AttentionRows[] groups) => groups.Sum(g => (long)g.Rows * s_shape.HeadCount * g.Visible);
}
