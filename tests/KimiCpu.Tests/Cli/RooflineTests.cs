// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Xml.Linq;
using KimiCpu.Cli.Bench;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class RooflineTests
{
    [Test]
    public void Ceiling_that_takes_longer_binds()
    {
        var reading = new RooflineResult("reads", Bytes: 100, Operations: 100, Seconds: 4, Bandwidth: 50, Arithmetic: 200);
        Assert.That((reading.IsMemoryBound, reading.Share), Is.EqualTo((true, 0.5)));
        RooflineResult computing = reading with { Operations = 1600, Seconds = 10 };
        Assert.That((computing.IsMemoryBound, computing.Share), Is.EqualTo((false, 0.8)));
    }

    [Test]
    public void Chart_is_xml_with_a_bar_as_long_as_each_share()
    {
        RooflineResult[] results =
        [
            new("a < b", 100, 1, 4, 50, 200),
            new("full", 100, 1, 2, 50, 200),
        ];
        var chart = XDocument.Parse(RooflineChart.Draw("2 threads & more", results));
        double[] bars = [.. chart.Descendants().Where(e => e.Name.LocalName == "rect").Skip(1).Select(e => (double)e.Attribute("width")!)];
        Assert.That(bars[0], Is.EqualTo(bars[1] / 2));
        Assert.That(chart.Descendants().Select(e => e.Value), Has.Member("a < b").And.Member("0.50 memory"));
    }

    /// <summary>A branch predictor that has seen the weights before would make kernels faster than a model has them.</summary>
    [Test]
    public void Weights_repeat_after_more_than_a_predictor_remembers([Values] bool halves)
    {
        byte[] pattern = WeightPattern.Of(new Random(2), halves);
        Assert.That(pattern, Has.Length.GreaterThan(4 << 20));
        Assert.That(pattern.Length % (7168 * (halves ? 2 : 1)), Is.Not.Zero, "rows of Kimi K2 differ");
        byte[] begin = pattern[..32];
        Assert.That(pattern.AsSpan(1).IndexOf(begin), Is.EqualTo(-1));
        Assert.That(halves || !pattern.Any(b => (b & 0x7F) == 0x7F), "no NaN");
        Assert.That(pattern.Distinct().Count(), Is.GreaterThan(150));
    }

    [Test]
    public void Arithmetic_is_measured()
    {
        using var pool = new WorkerPool(1);
        Assert.That(new ArithmeticProbe(pool, CpuFeatures.Best).Measure(), Is.GreaterThan(1e8).And.LessThan(1e13));
    }
}
