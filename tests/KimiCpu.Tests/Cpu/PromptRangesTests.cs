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
        Assert.That(Cut(0, 4096, threads), Is.EquivalentTo(Enumerable.Range(0, 64).Select(head => new HeadRows(head, 0, 4096))));

    [Test]
    public void Ranges_of_a_head_follow_each_other_in_whole_groups_of_rows(
        [Values(0, 100, 16_000, 20_000)] int start, [Values(512, 549, 1000, 4096)] int rows, [Values(3, 48, 60, 80, 96, 128, 192, 640)] int threads)
    {
        HeadRows[] items = Cut(start, rows, threads);
        for (int head = 0; head < s_shape.HeadCount; head++)
        {
            int next = 0;
            foreach ((_, int first, int count) in items.Where(i => i.Head == head).OrderBy(i => i.First))
            {
                Assert.That(first, Is.EqualTo(next));
                Assert.That(first % LatentAttention.MostQueries, Is.Zero);
                Assert.That(count, Is.Positive);
                next += count;
            }

            Assert.That(next, Is.EqualTo(rows));
        }

        var made = new PromptRanges(s_shape);
        made.Make(start, rows, threads);
        Assert.That(made.MostRows, Is.EqualTo(items.Max(i => i.Count)));
        Assert.That(Time(start, items, threads), Is.LessThanOrEqualTo(TimeOfWhole(start, rows, threads)));
    }

    /// <summary>Where rows take equally long all over, the last range takes as many whole groups as the others and what is left.</summary>
    [TestCase(16_000, 549, 128, 293)]
    [TestCase(32_000, 568, 128, 312)]
    [TestCase(4_096, 586, 192, 202)]
    [TestCase(32_000, 1548, 96, 524)]
    public void Room_is_asked_for_as_the_longest_range_takes_it_wherever_it_lies(int start, int rows, int threads, int expected)
    {
        var ranges = new PromptRanges(s_shape);
        ranges.Make(start, rows, threads);
        Assert.That(ranges.Items.ToArray().Max(i => i.Count), Is.EqualTo(expected));
        Assert.That(ranges.MostRows, Is.EqualTo(expected));
    }

    [TestCase(0, 4096)]
    [TestCase(32_000, 1548)]
    public void Threads_get_the_longest_ranges_first(int start, int rows)
    {
        const int Threads = 96;
        HeadRows[] items = Cut(start, rows, Threads);
        double[] first = [.. Enumerable.Range(0, Threads).Select(t => Work(start, items[items.Length * t / Threads]))];
        Assert.That(first.Min(), Is.GreaterThanOrEqualTo(items.Select(i => Work(start, i)).OrderDescending().ElementAt(Threads - 1)));
    }

    [TestCase(0, 4096, 128, 0.6, TestName = "Later rows see more, so there are fewer of them in a range")]
    [TestCase(100_000, 512, 128, 0.75, TestName = "Expanding a long context twice is less than attending to it from all rows")]
    [TestCase(0, 4096, 96, 0.87, TestName = "Heads that go once and a half into the threads are cut into three")]
    public void Two_threads_a_head_end_sooner_than_one(int start, int rows, int threads, double expected)
    {
        HeadRows[] items = Cut(start, rows, threads);
        HeadRows[] ofHead = [.. items.Where(i => i.Head == 0).OrderBy(i => i.First)];
        Assert.That(ofHead, Has.Length.GreaterThan(1));
        Assert.That(ofHead[0].Count, Is.GreaterThanOrEqualTo(ofHead[^1].Count));
        Assert.That(Time(start, items, threads) / TimeOfWhole(start, rows, threads), Is.LessThan(expected));
    }

    /// <summary>A few heads that are left would be a turn of their own, in which most threads wait.</summary>
    [TestCase(0, 960, 48, 0.81)]
    [TestCase(0, 4096, 56, 0.64)]
    [TestCase(16_000, 960, 60, 0.69)]
    public void Heads_beyond_whole_turns_of_the_threads_are_cut_and_no_others(int start, int rows, int threads, double expected)
    {
        HeadRows[] items = Cut(start, rows, threads);
        Assert.That(items.Count(i => i.Count == rows), Is.EqualTo(threads));
        Assert.That(Enumerable.Range(0, threads).Select(t => items[items.Length * t / threads].Count), Is.All.EqualTo(rows), "each thread begins with one");
        Assert.That(Time(start, items, threads) / TimeOfWhole(start, rows, threads), Is.LessThan(expected));
    }

    [Test]
    public void A_head_stays_whole_where_expanding_again_would_take_longer() =>
        Assert.That(Cut(100_000, 512, 96).Select(i => i.Count), Is.All.EqualTo(512));

    [Test]
    public void Ranges_are_made_anew_for_another_prompt()
    {
        var ranges = new PromptRanges(s_shape);
        ranges.Make(0, 4096, 128);
        ranges.Make(0, 512, 64);
        Assert.That(ranges.Items.ToArray().Select(i => (i.First, i.Count)), Is.EqualTo(Enumerable.Repeat((0, 512), 64)));
        Assert.That(ranges.MostRows, Is.EqualTo(512));
    }

    private static HeadRows[] Cut(int start, int rows, int threads)
    {
        var ranges = new PromptRanges(s_shape);
        ranges.Make(start, rows, threads);
        return ranges.Items.ToArray();
    }

    private static double TimeOfWhole(int start, int rows, int threads) =>
        Math.Ceiling((double)s_shape.HeadCount / threads) * Work(start, new HeadRows(0, 0, rows));

    /// <summary>Multiplications one after the other, where whoever is done takes the longest of what is left.</summary>
    private static double Time(int start, HeadRows[] items, int threads)
    {
        var ends = new PriorityQueue<int, double>(Enumerable.Range(0, threads).Select(t => (t, 0.0)));
        double last = 0;
        foreach (double work in items.Select(i => Work(start, i)).OrderDescending())
        {
            ends.TryPeek(out int thread, out double end);
            ends.DequeueEnqueue(thread, end + work);
            last = Math.Max(last, end + work);
        }

        return last;
    }

    private static double Work(int start, HeadRows rows) =>
        ((start + rows.First + rows.Count) * 256.0 * 512) + (Enumerable.Range(start + rows.First + 1, rows.Count).Sum(seen => (double)seen) * 320);
}
