// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Planning;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Planning;

/// <summary>The model of speed against numbers computed by hand.</summary>
[TestFixture]
internal sealed class SpeedModelTests
{
    [Test]
    public void Kimi_K2_has_the_sizes_that_are_known_of_it()
    {
        PlanSubject k2 = Machines.Thinking;
        Assert.That(k2.RoutedBytes / 1e9, Is.EqualTo(570.8).Within(0.1));
        Assert.That(k2.ExpertBytes / 1e6, Is.EqualTo(24.77).Within(0.01));
        Assert.That(k2.RoutedBytesPerToken / 1e9, Is.EqualTo(11.89).Within(0.01));
        Assert.That(k2.RoutedOperations / 1e9, Is.EqualTo(42.3).Within(0.1));
        Assert.That(k2.HotBytes / 1e9, Is.EqualTo(21.1).Within(0.1));
        Assert.That(k2.Summary.Bytes / 1e9, Is.EqualTo(594).Within(1));
        Assert.That(k2.Summary.CacheBytesPerToken, Is.EqualTo(70_272));
        Assert.That(k2.AttentionOperationsPerContextToken * 32_768 / 1e9, Is.EqualTo(278).Within(1));
    }

    [TestCase(1, 8)]
    [TestCase(2, 15.8)]
    [TestCase(4, 31)]
    [TestCase(8, 59.5)]
    [TestCase(16, 110)]
    [TestCase(32, 188)]
    [TestCase(192, 377)]
    public void Tokens_touch_so_many_different_experts(int tokens, double expected) =>
        Assert.That(Machines.Thinking.DistinctExperts(tokens), Is.EqualTo(expected).Within(0.01 * expected));

    [TestCase(7e9, 1.01)]
    [TestCase(14e9, 2.03)]
    [TestCase(28e9, 4.06)]
    public void With_two_fifths_resident_the_drive_bounds_decoding(double drive, double expected)
    {
        PlanMachine machine = Machines.Workstation(drive: drive, bandwidth: 1e15) with { Gpu = Machines.Card(24) };
        var plan = new MachinePlan(Machines.Thinking, machine, 32_768, parameters: Machines.Ideal);
        Assert.That(plan.Placement.ResidentShare, Is.EqualTo(0.42).Within(0.02));
        DecodeTime flat = plan.Speed.Decode(1024, hitBonus: 0);
        Assert.That(1 / flat.DriveSeconds, Is.EqualTo(expected).Within(0.05 * expected));
        Assert.That(flat.Bound, Is.EqualTo(PlanBound.Drive));
    }

    [Test]
    public void With_everything_resident_the_memory_bounds_decoding()
    {
        PlanMachine machine = Machines.Workstation(memory: 700e9, bandwidth: 400e9);
        var plan = new MachinePlan(Machines.Thinking, machine, 1024, parameters: Machines.Ideal);
        DecodeTime time = plan.Speed.Decode(1, hitBonus: 0);
        Assert.That(time.DriveSeconds, Is.Zero);
        Assert.That(time.TokensPerSecond, Is.EqualTo(400e9 / (11.89e9 + 21.1e9)).Within(0.05));
        Assert.That(time.Bound, Is.EqualTo(PlanBound.Memory));
        var small = new MachinePlan(Machines.Thinking, machine, 1024, int8HotPath: true, parameters: Machines.Ideal);
        Assert.That(small.Speed.Decode(1, 0).TokensPerSecond, Is.EqualTo(17.3).Within(0.6), "17.8 with all of the hot path at 8 bits");
    }

    [Test]
    public void What_cannot_hide_behind_the_drive_is_added()
    {
        SpeedParameters half = Machines.Ideal with { DriveOverlap = 0.5 };
        PlanMachine machine = Machines.Workstation();
        DecodeTime hidden = new MachinePlan(Machines.Thinking, machine, 1024, parameters: Machines.Ideal).Speed.Decode(1, 0);
        DecodeTime partly = new MachinePlan(Machines.Thinking, machine, 1024, parameters: half).Speed.Decode(1, 0);
        Assert.That(hidden.Seconds, Is.EqualTo(hidden.DriveSeconds));
        Assert.That(partly.Seconds, Is.EqualTo(hidden.DriveSeconds + (0.5 * (hidden.MemorySeconds + hidden.ComputeSeconds))).Within(1e-9));
    }

    [Test]
    public void Few_cores_do_not_reach_the_memorys_bandwidth()
    {
        SpeedParameters cores = Machines.Ideal with { DecodedBytesPerOperation = 0.05 };
        PlanMachine machine = Machines.Workstation(memory: 700e9, bandwidth: 400e9) with { Cores = Fact.Given(2), OperationsPerSecondPerCore = Fact.Given(125e9) };
        DecodeTime time = new MachinePlan(Machines.Thinking, machine, 1024, parameters: cores).Speed.Decode(1, 0);
        Assert.That(time.TokensPerSecond, Is.EqualTo(50e9 / (11.89e9 + 21.1e9)).Within(0.02));
    }

    [Test]
    public void A_prompt_reads_every_expert_once_a_pass()
    {
        var plan = new MachinePlan(Machines.Thinking, Machines.Workstation(bandwidth: 1e15) with { OperationsPerSecondPerCore = Fact.Given(1e15) }, 32_768, parameters: Machines.Ideal);
        Assert.That(plan.Prompts.Chunk, Is.EqualTo(4096));
        PromptTime one = plan.Prompts.Time(4096);
        double sweep = plan.Subject.RoutedBytes * (1 - plan.Placement.ResidentShare) / 7e9;
        Assert.That((one.Passes, one.Bound), Is.EqualTo((1, PlanBound.Drive)));
        Assert.That(one.Seconds, Is.EqualTo(sweep).Within(0.01 * sweep));
        Assert.That(plan.Prompts.Time(16_384).Seconds, Is.EqualTo(4 * sweep).Within(0.02 * sweep * 4));
        Assert.That(plan.Prompts.Time(128).Seconds, Is.EqualTo(sweep * plan.Subject.DistinctExperts(128) / 384).Within(0.01 * sweep));
    }

    [Test]
    public void Experts_stream_through_a_GPU_at_the_rate_of_its_link()
    {
        PlanMachine machine = Machines.Workstation(memory: 700e9) with { Gpu = Machines.Card(32), OperationsPerSecondPerCore = Fact.Given(1e9) };
        PromptTime time = new MachinePlan(Machines.Thinking, machine, 8192, parameters: Machines.Ideal).Prompts.Time(4096);
        Assert.That(time.Bound, Is.EqualTo(PlanBound.GpuLink));
        Assert.That(time.Seconds, Is.InRange(20, 28), "570.8 GB at 25 GB/s take 23 s, less what stays on the card, and attention is added");
    }

    /// <summary>All else takes no time; of the weights that every token needs 9.37e9 are multiplied.</summary>
    [TestCase(128, 1, (18.74e9 * 128) + (8.495e6 * 128 * 129 / 2), TestName = "A short prompt attends over latents")]
    [TestCase(4096, 1, (18.74e9 * 4096) + (2.498e6 * 4096.0 * 4097 / 2), TestName = "A long one over expanded keys and values")]
    [TestCase(8192, 2, (18.74e9 * 8192) + (2.498e6 * 8192.0 * 8193 / 2) + (1.0234e9 * 4096), TestName = "Whose past is expanded again by every pass")]
    [TestCase(4096 + 170, 2, (18.74e9 * 4266) + (2.498e6 * 4096.0 * 4097 / 2) + (8.495e6 * ((170 * 4096.0) + (170 * 171 / 2))), TestName = "Unless the pass is small")]
    public void Prompts_attend_on_a_GPU_as_it_does(int tokens, int passes, double operations)
    {
        PlanMachine machine = Machines.Workstation(memory: 1200e9, bandwidth: 1e18) with { Gpu = new PlanGpu(96L << 30, Fact.Given(1e18), Fact.Given(1e18)), OperationsPerSecondPerCore = Fact.Given(1e18) };
        PromptTime time = new MachinePlan(Machines.Thinking, machine, 8192, parameters: Machines.Ideal).Prompts.Time(tokens);
        Assert.That((time.Passes, time.Bound), Is.EqualTo((passes, PlanBound.Gpu)));
        Assert.That(time.Seconds, Is.EqualTo(operations / 60e12).Within(0.5).Percent);
        Assert.That(Machines.Thinking.FewestExpandedTokensOfGpu, Is.EqualTo(ExpandedAttention.FewestRows(WeightLoader.ShapeOf(Machines.Thinking.Config))));
    }

    /// <summary>Passes of experts from a drive are long enough; here the drive and the memory take no time.</summary>
    [Test]
    public void Prompts_attend_on_a_CPU_as_it_does()
    {
        PlanMachine machine = Machines.Workstation(drive: 1e18, bandwidth: 1e18);
        PromptModel prompts = new MachinePlan(Machines.Thinking, machine, 32_768, parameters: Machines.Ideal).Prompts;
        Assert.That((prompts.Chunk, Machines.Thinking.FewestExpandedTokensOfCpu), Is.EqualTo((4096, PromptAttention.UsualFewestRows)));
        double ofToken = prompts.Time(2).Seconds - prompts.Time(1).Seconds;
        double saved = prompts.Time(511).Seconds + ofToken - prompts.Time(512).Seconds;
        double rate = 16 * 117e9 * machine.BFloat16OperationsFactor * Machines.Ideal.AttentionEfficiency;
        Assert.That(saved, Is.EqualTo((8.495e6 - 2.498e6) * 511 * 512 / 2 / rate).Within(2).Percent);
    }

    [Test]
    public void Costs_follow_from_watts_and_prices()
    {
        var cost = new RunningCost(450, 0.30, 2.50);
        Assert.That(cost.PerMillion(1), Is.EqualTo(37.5).Within(1e-9), "10^6 s at 450 W are 125 kWh");
        Assert.That(cost.PerMillion(15), Is.EqualTo(2.5).Within(1e-9));
        Assert.That(cost.BreakEvenTokensPerSecond, Is.EqualTo(15).Within(1e-9));
        Assert.That(new RunningCost(450, 0.30, null).BreakEvenTokensPerSecond, Is.Null);
    }
}
