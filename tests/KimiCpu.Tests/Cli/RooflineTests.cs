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

    [Test]
    public void Arithmetic_is_measured()
    {
        using var pool = new WorkerPool(1);
        Assert.That(new ArithmeticProbe(pool, CpuFeatures.Best).Measure(), Is.GreaterThan(1e8).And.LessThan(1e13));
    }
}
