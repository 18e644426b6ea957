// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore.Policies;

[TestFixture]
internal sealed class UseCountsTests
{
    [Test]
    public void Counts_are_the_decayed_sums_of_uses([Values(1, 7.5, 1000, double.PositiveInfinity)] double halfLife)
    {
        var counts = new UseCounts(5, halfLife);
        var expected = new double[5];
        double most = 0;
        var random = new Random(3);
        for (int step = 0; step < 5000; step++)
        {
            counts.BeginStep();
            double factor = Math.Pow(2, -1 / halfLife);
            most = (most * factor) + 1;
            for (int key = 0; key < expected.Length; key++)
            {
                expected[key] *= factor;
                if (key > 0 && random.Next(key + 1) == 0)
                {
                    counts.Use(key);
                    expected[key]++;
                }
            }
        }

        var found = new double[5];
        counts.Export(found);
        Assert.That(found, Is.EqualTo(expected).Within(1e-7).Percent);
        Assert.That(counts.Most, Is.EqualTo(most).Within(1e-7).Percent);
        Assert.That(counts.Rank(0), Is.EqualTo(UseCounts.Never));
        Assert.That(Enumerable.Range(0, 5).OrderBy(counts.Rank), Is.EqualTo(Enumerable.Range(0, 5).OrderBy(k => expected[k])));
    }

    [Test]
    public void A_billion_half_lives_overflow_nothing()
    {
        var counts = new UseCounts(2, 0.001);
        for (int i = 0; i < 1_000_000; i++)
        {
            counts.BeginStep();
        }

        counts.Use(1);
        counts.Use(1);
        Assert.That(counts.Count(1), Is.EqualTo(2).Within(1e-6));
        Assert.That(counts.Count(0), Is.Zero);
    }

    [Test]
    public void Exported_counts_go_on_where_they_are_imported()
    {
        var first = new UseCounts(4, 10);
        var second = new UseCounts(4, 10);
        second.BeginStep();
        second.Use(3);
        for (int step = 0; step < 30; step++)
        {
            first.BeginStep();
            first.Use(step % 3);
        }

        var exported = new double[4];
        first.Export(exported);
        second.Import(exported, first.Most);
        foreach (UseCounts counts in new[] { first, second })
        {
            counts.BeginStep();
            counts.Use(0);
        }

        for (int key = 0; key < 4; key++)
        {
            Assert.That(second.Count(key), Is.EqualTo(first.Count(key)).Within(1e-9));
        }

        Assert.That(second.Most, Is.EqualTo(first.Most).Within(1e-9));
    }

    [Test]
    public void Values_that_are_no_counts_count_as_no_use()
    {
        var counts = new UseCounts(5, 10);
        counts.Import([double.NaN, -1, double.PositiveInfinity, 0, 2], double.NaN);
        Assert.That(Enumerable.Range(0, 5).Select(counts.Count), Is.EqualTo(new double[] { 0, 0, 0, 0, 2 }).Within(1e-9));
        Assert.That(counts.Most, Is.Zero);
        Assert.That(() => counts.Import([1], 1), Throws.TypeOf<ArgumentOutOfRangeException>());
    }
}
