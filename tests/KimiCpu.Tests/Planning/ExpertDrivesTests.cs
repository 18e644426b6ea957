// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Cli.Plan;
using KimiCpu.Cli.Terminal;
using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

/// <summary>Several drives: what they bring together depends on which layers lie where.</summary>
[TestFixture]
internal sealed partial class ExpertDrivesTests
{
    private const int Layers = 60;
    private const string Striped = "these drives striped to one volume";

    private static readonly double[] s_all = Shares(_ => 1);
    private static readonly double[] s_half = Shares(_ => 0.5);
    private static readonly double[] s_first = Shares(layer => layer < Layers / 2 ? 1 : 0);
    private static readonly double[] s_second = Shares(layer => layer < Layers / 2 ? 0 : 1);
    private static readonly double[] s_even = Shares(layer => layer % 2 == 0 ? 1 : 0);
    private static readonly double[] s_odd = Shares(layer => layer % 2);

    /// <summary>A shard for each drive, and what the tensors' own names say.</summary>
    [Test]
    public void Experts_are_on_the_drives_of_their_shards()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        IReadOnlyDictionary<string, double[]> shares = ExpertDrives.Of(checkpoint, path => Path.GetFileName(path));
        Assert.That(shares.Keys, Is.EquivalentTo(checkpoint.Shards));
        IEnumerable<IGrouping<int, TensorEntry>> layers = checkpoint.Tensors.Values
            .Where(t => !t.Name.EndsWith("weight_shape", StringComparison.Ordinal) && ExpertsLayer().IsMatch(t.Name))
            .GroupBy(t => int.Parse(ExpertsLayer().Match(t.Name).Groups[1].ValueSpan, System.Globalization.CultureInfo.InvariantCulture));
        int divided = 0;
        foreach (IGrouping<int, TensorEntry> layer in layers)
        {
            foreach ((string shard, double[] share) in shares)
            {
                double expected = layer.Where(t => checkpoint.Shards[t.Shard] == shard).Sum(t => (double)t.Length) / layer.Sum(t => t.Length);
                Assert.That(share[layer.Key - 1], Is.EqualTo(expected).Within(1e-9), $"{layer.Key}, {shard}");
                divided += expected is > 0 and < 1 ? 1 : 0;
            }
        }

        Assert.That(layers.Count(), Is.EqualTo(3));
        Assert.That(divided, Is.Positive, "the fixture has a layer in two shards");
    }

    [Test]
    public void Drives_that_hold_different_layers_read_as_one()
    {
        (double token, double prompt, double fill) = Seconds(null, null);
        (double Token, double Prompt, double Fill) slow = (2 * token, 2 * prompt, 2 * fill);
        AssertSeconds(Seconds(s_half, s_half), (token, prompt, fill), "every layer on both is as good as striped");
        AssertSeconds(Seconds(s_first, s_second), slow with { Fill = fill }, "halves");
        AssertSeconds(Seconds(s_even, s_odd), slow with { Fill = fill }, "in turn");
        AssertSeconds(Seconds(s_all, [.. s_all.Select(_ => 0.0)]), slow, "all on one");
    }

    [Test]
    public void A_layer_takes_as_long_as_its_slowest_drive()
    {
        PlanMachine machine = Machine(s_half, s_half, 3.5e9);
        Assert.That(machine.ExpertBytesPerSecond, Is.EqualTo(7e9).Within(1), "half of it at 3.5 GB/s");
        Assert.That(Machine(s_first, s_second, 3.5e9).ExpertBytesPerSecond, Is.EqualTo(2 / ((1 / 7e9) + (1 / 3.5e9))).Within(1), "half of the layers at 7 GB/s, half at 3.5");
        Assert.That(machine.Striped().ExpertBytesPerSecond, Is.EqualTo(7e9).Within(1), "equally many bytes on each drive");
    }

    /// <summary>A volume has equally many bytes on each of its drives.</summary>
    [TestCase("7GB/s", 7e9, 1)]
    [TestCase("2x7GB/s", 14e9, 2)]
    [TestCase("7GB/s,6GB/s", 12e9, 2)]
    [TestCase("7GB/s,0.55GB/s", 7e9, 1)]
    [TestCase("0.55GB/s,2x7GB/s", 14e9, 2)]
    [TestCase("3x2GB/s,7GB/s", 8e9, 4)]
    public void A_striped_volume_is_as_fast_as_its_slowest_drive_allows(string drives, double rate, int count)
    {
        PlanMachine machine = Machines.Workstation() with { Drives = [.. Quantity.Drives("--nvme", drives).Select(d => new PlanDrives("", d.Count, Fact.Given(d.BytesPerSecond)))] };
        Assert.That(machine.ExpertBytesPerSecond, Is.EqualTo(rate).Within(1));
        Assert.That(machine.StripedDrives, Is.EqualTo(count));
        Assert.That(machine.SecondsToFill(rate), Is.EqualTo(1).Within(1e-9));
    }

    /// <summary>Halves on a fast drive and a slow one: what helps is to do without the slow one.</summary>
    [Test]
    public void A_slow_drive_is_not_advised_to_be_striped()
    {
        var plan = new MachinePlan(Machines.Thinking, Machine(s_first, s_second, 0.55e9), 32_768, parameters: Machines.Ideal);
        string report = Report(plan);
        Assert.That(report, Does.Contain("Experts come at 1 GB/s from these drives, not at 7 GB/s").And.Contain("All files on the fastest of them").And.Not.Contain("7.55"));
        IReadOnlyList<PlanUpgrade> upgrades = plan.Upgrades();
        Assert.That(upgrades.Select(u => u.Name), Has.Member("all files on the fastest drive").And.Member("one more drive like the fastest, the 2 fastest striped").And.No.Member(Striped));
        Assert.That(upgrades.Single(u => u.Name.StartsWith("all files", StringComparison.Ordinal)).Plan.Machine.ExpertBytesPerSecond, Is.EqualTo(7e9).Within(1));
        Assert.That(upgrades.Max(u => u.Plan.Machine.ExpertBytesPerSecond), Is.EqualTo(14e9).Within(1));
    }

    [Test]
    public void What_striping_would_bring_is_an_upgrade()
    {
        MachinePlan halves = Plan(s_first, s_second);
        PlanUpgrade striped = halves.Upgrades().Single(u => u.Name == Striped);
        Assert.That(striped.Plan.Headline.Likely.DriveSeconds, Is.EqualTo(halves.Headline.Likely.DriveSeconds / 2).Within(1e-9));
        Assert.That(Plan(null, null).Upgrades().Select(u => u.Name), Has.None.EqualTo(Striped));
    }

    [Test]
    public void Report_says_what_the_drives_bring_together()
    {
        Assert.That(Report(Plan(s_first, s_second)), Does.Contain("Experts come at 7 GB/s from these drives, not at 14 GB/s").And.Contain("50% of the routed experts"));
        Assert.That(Report(Plan(s_half, s_half)), Does.Not.Contain("from these drives"));
        Assert.That(Report(Plan(null, null)), Does.Not.Contain("from these drives"));
    }

    /// <summary>With the files of a model that is here.</summary>
    [Test]
    public void A_drive_that_is_measured_has_its_part_of_every_layer()
    {
        var sketch = new MachineSketch { MemoryBytes = 1e9, MemoryBytesPerSecond = 20e9, Cores = 1, OperationsPerSecondPerCore = 50e9 };
        PlanSubject nano = PlanSubject.Open(Repository.NanoModel);
        PlanDrives drive = MachineProbe.Complete(sketch, nano, _ => { }, default).Drives.Single();
        Assert.That(drive.BytesPerSecond.Origin, Is.EqualTo(FactOrigin.Measured));
        Assert.That(drive.LayerShares, Has.Count.EqualTo(nano.MoeLayers).And.All.EqualTo(1).Within(1e-9));
    }

    private static void AssertSeconds((double Token, double Prompt, double Fill) found, (double Token, double Prompt, double Fill) expected, string how)
    {
        Assert.That(found.Token, Is.EqualTo(expected.Token).Within(1e-9), how);
        Assert.That(found.Prompt, Is.EqualTo(expected.Prompt).Within(1).Percent, how);
        Assert.That(found.Fill, Is.EqualTo(expected.Fill).Within(1e-6), how);
    }

    private static (double Token, double Prompt, double Fill) Seconds(double[]? first, double[]? second)
    {
        MachinePlan plan = Plan(first, second);
        return (plan.Headline.Likely.DriveSeconds, plan.Prompts.Time(128).Seconds, plan.FirstReadSeconds);
    }

    /// <summary>All else takes no time.</summary>
    private static MachinePlan Plan(double[]? first, double[]? second) => new(Machines.Thinking, Machine(first, second, 7e9), 32_768, parameters: Machines.Ideal);

    private static PlanMachine Machine(double[]? first, double[]? second, double rate) => Machines.Workstation(bandwidth: 1e15) with
    {
        OperationsPerSecondPerCore = Fact.Given(1e15),
        Drives = [new PlanDrives("a", 1, Fact.Measured(7e9)) { LayerShares = first }, new PlanDrives("b", 1, Fact.Measured(rate)) { LayerShares = second }],
    };

    private static double[] Shares(Func<int, double> ofLayer) => [.. Enumerable.Range(0, Layers).Select(ofLayer)];

    private static string Report(MachinePlan plan)
    {
        var output = new StringWriter();
        new PlanReport(new CliStreams(Stream.Null, output, TextWriter.Null, IsTerminal: false), plan).Write(null);
        return output.ToString();
    }

    [GeneratedRegex(@"\.layers\.(\d+)\.mlp\.experts\.")]
    private static partial Regex ExpertsLayer();
}
