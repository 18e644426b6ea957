// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class PromptRangesTests
{
    /// <summary>As Kimi K2 attends.</summary>
    private static readonly ModelShape s_shape = Shapes.Small() with { HeadCount = 64, KeyValueLoraRank = 512, NopeHeadSize = 128, RopeHeadSize = 64, ValueHeadSize = 128 };

    [Test]
    public void Threads_that_heads_occupy_evenly_take_whole_heads([Values(1, 2, 16, 64)] int threads) =>
        Assert.That(Cut(0, 4096, threads), Is.EqualTo(new[] { (0, 4096) }));

    [Test]
    public void Ranges_follow_each_other_in_whole_groups_of_rows(
        [Values(0, 100, 20_000)] int start, [Values(512, 1000, 4096)] int rows, [Values(80, 96, 128, 192, 640)] int threads)
    {
        (int First, int Count)[] ranges = Cut(start, rows, threads);
        int next = 0;
        foreach ((int first, int count) in ranges)
        {
            Assert.That(first, Is.EqualTo(next));
            Assert.That(first % LatentAttention.MostQueries, Is.Zero);
            Assert.That(count, Is.Positive);
            next += count;
        }

        Assert.That(next, Is.EqualTo(rows));
        var made = new PromptRanges(s_shape);
        made.Make(start, rows, threads);
        Assert.That(made.MostRows, Is.EqualTo(ranges.Max(r => r.Count)));
        Assert.That(Time(start, ranges, threads), Is.LessThanOrEqualTo(Time(start, [(0, rows)], threads)));
    }

    [TestCase(0, 4096, 128, 0.6, TestName = "Later rows see more, so there are fewer of them in a range")]
    [TestCase(100_000, 512, 128, 0.75, TestName = "Expanding a long context twice is less than attending to it from all rows")]
    [TestCase(0, 4096, 96, 0.87, TestName = "Heads that go once and a half into the threads are cut into three")]
    public void Two_threads_a_head_end_sooner_than_one(int start, int rows, int threads, double expected)
    {
        (int First, int Count)[] ranges = Cut(start, rows, threads);
        Assert.That(ranges, Has.Length.GreaterThan(1));
        Assert.That(ranges[0].Count, Is.GreaterThanOrEqualTo(ranges[^1].Count));
        Assert.That(Time(start, ranges, threads) / Time(start, [(0, rows)], threads), Is.LessThan(expected));
    }

    [Test]
    public void A_head_stays_whole_where_expanding_again_would_take_longer() =>
        Assert.That(Cut(100_000, 512, 96), Is.EqualTo(new[] { (0, 512) }));

    [Test]
    public void Ranges_are_made_anew_for_another_prompt()
    {
        var ranges = new PromptRanges(s_shape);
        ranges.Make(0, 4096, 128);
        ranges.Make(0, 512, 64);
        Assert.That(ranges.Ranges, Is.EqualTo(new[] { (0, 512) }));
        Assert.That(ranges.MostRows, Is.EqualTo(512));
    }

    private static (int First, int Count)[] Cut(int start, int rows, int threads)
    {
        var ranges = new PromptRanges(s_shape);
        ranges.Make(start, rows, threads);
        return [.. ranges.Ranges];
    }

    /// <summary>Multiplications one after the other: turns of the threads times those of the longest range.</summary>
    private static double Time(int start, (int First, int Count)[] ranges, int threads) =>
        Math.Ceiling((double)s_shape.HeadCount * ranges.Length / threads) * ranges.Max(r =>
            ((start + r.First + r.Count) * 256.0 * 512) + (Enumerable.Range(start + r.First + 1, r.Count).Sum(seen => (double)seen) * 320));
}
