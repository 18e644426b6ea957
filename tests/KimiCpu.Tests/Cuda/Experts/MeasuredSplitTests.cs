// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Experts;

namespace KimiCpu.Tests.Cuda.Experts;

/// <summary>How many experts pass through the GPU, by what both sides took.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class MeasuredSplitTests
{
    private const int FirstLayer = 1;

    /// <summary>Of Kimi K2: 4 ms at the speed that is assumed.</summary>
    private const long ExpertBytes = 24_772_608;

    private static readonly int[] s_hundred = [.. Enumerable.Repeat(12, 100)];

    [Test]
    public void Nothing_is_streamed_before_the_CPU_is_measured_nor_in_the_first_layer()
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        Assert.That(split.Choose(FirstLayer, s_hundred), Is.Zero);
        Assert.That(split.Choose(2, s_hundred), Is.Zero);
        split.Note(Cpu(milliseconds: 1600));
        Assert.That(split.Choose(FirstLayer, s_hundred), Is.Zero);
        Assert.That(split.Choose(2, s_hundred), Is.EqualTo(79), "4.2 ms each there, 16 here");
        Assert.That(split.Choose(2, []), Is.Zero);
    }

    [Test]
    public void Both_sides_end_together()
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        split.Note(Cpu(milliseconds: 1600));
        split.Note(new StreamedLayer(10, 0.160, 90, 90 * 12, 1.440));
        Assert.That(split.Choose(2, s_hundred), Is.EqualTo(50), "16 ms on either side");

        // The link turns out to be faster, and the CPU slower beside it.
        for (int i = 0; i < 30; i++)
        {
            split.Note(new StreamedLayer(50, 0.050, 50, 50 * 12, 0.950));
        }

        Assert.That(split.Choose(2, s_hundred), Is.EqualTo(95), "1 ms there, 19 here");
    }

    /// <summary>The experts with most tokens go, so fewer of them make up for as much of the CPU's work.</summary>
    [Test]
    public void What_an_expert_saves_is_counted_by_its_tokens()
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        split.Note(Cpu(milliseconds: 1600));
        split.Note(new StreamedLayer(10, 0.160, 90, 90 * 12, 1.440));
        int[] uneven = [.. Enumerable.Repeat(44, 10), .. Enumerable.Repeat(1, 90)];
        Assert.That(split.Choose(2, uneven), Is.EqualTo(24), "the ten and 14 more take 384 ms there, 76 times 5 ms are left here");
    }

    [TestCase(12, 100, 100.0, Description = "1 ms an expert: most of the way is not worth it")]
    [TestCase(1, 8, 2.0, Description = "a token")]
    public void Where_the_way_takes_longer_than_the_work_nothing_is_streamed(int tokens, int experts, double milliseconds)
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        split.Note(new StreamedLayer(0, 0, experts, experts * (long)tokens, milliseconds / 1e3));
        split.Note(new StreamedLayer(4, 4 * 0.025, experts - 4, (experts - 4) * (long)tokens, milliseconds / 1e3));
        Assert.That(split.Choose(2, [.. Enumerable.Repeat(tokens, experts)]), Is.Zero);
    }

    [Test]
    public void It_is_tried_again_when_the_measurement_has_become_old()
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        split.Note(Cpu(milliseconds: 1600));
        split.Note(new StreamedLayer(79, 1000, 21, 21 * 12, 3));
        Assert.That(split.Choose(2, s_hundred), Is.Zero);
        int layers = 0;
        while (split.Choose(2, s_hundred) == 0)
        {
            split.Note(Cpu(milliseconds: 1600));
            Assert.That(++layers, Is.LessThan(5000));
        }

        Assert.That(layers, Is.GreaterThan(100));
    }

    [Test]
    public void A_side_that_had_nothing_to_do_says_nothing_about_its_speed()
    {
        var split = new MeasuredSplit(ExpertBytes, FirstLayer);
        split.Note(new StreamedLayer(0, 0, 0, 0, 0.001));
        Assert.That(split.Choose(2, s_hundred), Is.Zero);
        split.Note(Cpu(milliseconds: 1600));
        split.Note(new StreamedLayer(100, 0.100, 0, 0, 0.001));
        Assert.That(split.Choose(2, s_hundred), Is.EqualTo(95), "1 ms there, 16 here");
    }

    private static StreamedLayer Cpu(double milliseconds) => new(0, 0, 100, 100 * 12, milliseconds / 1e3);
}
