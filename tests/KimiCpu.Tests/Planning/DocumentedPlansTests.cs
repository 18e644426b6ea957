// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

/// <summary>The documentation shows what <c>kimi plan</c> computes today. The command takes the kernels of the machine that it runs on, so those that a page speaks of are given here.</summary>
[TestFixture]
internal sealed partial class DocumentedPlansTests
{
    [Test]
    public void The_workstation_of_the_readme()
    {
        PlanMachine machine = Machines.Workstation() with { Drives = [new PlanDrives("NVMe", 2, Fact.Given(7e9))] };
        DecodeRange[] rates = Decodes(machine);
        DecodeRange[] avx2 = Decodes(machine with { ByteOperationsFactor = 2, BFloat16OperationsFactor = 1 });
        string expected = Invariant(
            $"about {rates[0].Likely.TokensPerSecond:F2} tokens/s behind a short context ({rates[0].Low.TokensPerSecond:F2} where routing is flat), {rates[1].Likely.TokensPerSecond:F2} behind 32K ({avx2[1].Likely.TokensPerSecond:F2} on Intel's CPUs, and with AVX2 alone)");
        Assert.That(Page("README.md"), Does.Contain(expected).And.Contain("--ram 256GB --ram-bandwidth 90GB/s --nvme 2x7GB/s --cores 16 --core-gops 117`"));
    }

    [Test]
    public void The_other_machines_of_the_readme()
    {
        PlanMachine large = Machines.Workstation() with { Drives = [new PlanDrives("NVMe", 2, Fact.Given(7e9))] };
        var plan = new MachinePlan(Machines.Thinking, large, MachinePlan.DefaultContext);
        MachinePlan withGpu = plan.On(large with { Gpu = Machines.Card(24) });
        MachinePlan intel = plan.On(large with { BFloat16OperationsFactor = 1 });
        DecodeRange[] rates = [.. withGpu.Decodes];
        Assert.That(Page("README.md"), Does.Contain(Invariant(
            $"about {rates[0].Likely.TokensPerSecond:F2} tokens/s behind a short context, {rates[1].Likely.TokensPerSecond:F2} behind 32K, and {withGpu.Prompts.Time(4096).Seconds:F0} s instead of {plan.Prompts.Time(4096).Seconds:F0} s to the first token of a prompt of 4K (without the GPU {10 * Math.Round(intel.Prompts.Time(4096).Seconds / 10):F0} s on Intel's CPUs")));
        PlanMachine small = Machines.Workstation(memory: 64e9, bandwidth: 60e9) with { Cores = Fact.Given(8) };
        double[] rate =
        [
            .. new[] { (false, small), (true, small), (false, small with { Gpu = Machines.Card(24) }) }
                .Select(p => new MachinePlan(Machines.Thinking, p.Item2, MachinePlan.DefaultContext, p.Item1).Headline.Likely.TokensPerSecond),
        ];
        Assert.That(Page("README.md"), Does.Contain(Invariant(
            $"with memory of 60 GB/s and one drive of 7 GB/s about {rate[0]:F2} tokens/s behind a short context, {rate[1]:F2} with `--int8-hot-path`, {rate[2]:F2} with a GPU of 24 GB")));
    }

    [Test]
    public void A_card_of_24_GB_with_and_without_8_bits()
    {
        PlanMachine machine = Machines.Workstation(memory: 768L << 30, bandwidth: 200e9) with { OperationsPerSecondPerCore = Fact.Given(100e9), Gpu = Machines.Card(24) };
        var stored = new MachinePlan(Machines.Thinking, machine, MachinePlan.DefaultContext);
        var small = new MachinePlan(Machines.Thinking, machine, MachinePlan.DefaultContext, int8HotPath: true);
        string expected = Invariant(
            $"{stored.Headline.Likely.TokensPerSecond:F1} and {small.Headline.Likely.TokensPerSecond:F1} tokens/s decoding behind 1K tokens, and {stored.Prompts.Time(4096).Seconds:F0} and {small.Prompts.Time(4096).Seconds:F0} s to the first token of a prompt of 4K");
        Assert.That(Page("docs", "gpu.md"), Does.Contain(expected));
    }

    [Test]
    public void Prompts_with_all_experts_in_memory()
    {
        PlanMachine machine = Machines.Workstation(memory: 1000e9, bandwidth: 400e9) with { Cores = Fact.Given(64), OperationsPerSecondPerCore = Fact.Given(186e9), ByteOperationsFactor = 2, BFloat16OperationsFactor = 1 };
        PromptModel prompts = new MachinePlan(Machines.Thinking, machine, MachinePlan.DefaultContext).Prompts;
        Assert.That(Page("docs", "performance.md"), Does.Contain(Invariant($"{prompts.Time(4096).Seconds:F0} s for a prompt of 4K tokens and {prompts.Time(16_384).Seconds / 60:F0} minutes for 16K")));
    }

    /// <summary>An H200's step with weights in 8 bits behind 8K tokens.</summary>
    [Test]
    public void A_step_of_the_GPU_that_was_measured()
    {
        PlanMachine machine = Machines.Workstation(memory: 1000e9) with { Gpu = new PlanGpu(141L << 30, Fact.Given(4.65e12), Fact.Given(25e9)) };
        var plan = new MachinePlan(Machines.Thinking, machine, 8192, int8HotPath: true);
        double shared = plan.Placement.Bytes(PlanPlace.Gpu, Component.SharedExperts) / (4.65e12 * SpeedParameters.Default.GpuMemoryEfficiency);
        double step = plan.Speed.Decode(8192, hitBonus: 0).GpuSeconds + shared;
        Assert.That(8.7e-3 / step, Is.EqualTo(1.5).Within(0.1), "half as long again, as PlanWords.GpuState says");
        Assert.That(Page("docs", "gpu.md"), Does.Contain("| 8.7 ms, 3.5 times"));
        Assert.That(Page("docs", "plan.md"), Does.Contain(Invariant($"for the step of 8.7 ms of the one card that has been [measured](gpu.md#measured) the plan has {step * 1000:F1} ms")));
    }

    private static DecodeRange[] Decodes(PlanMachine machine) => [.. new MachinePlan(Machines.Thinking, machine, MachinePlan.DefaultContext).Decodes];

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    /// <summary>Wherever its lines break.</summary>
    private static string Page(params string[] path) => Blanks().Replace(File.ReadAllText(Path.Combine([Repository.Root, .. path])), " ");

    [GeneratedRegex(@"\s+")]
    private static partial Regex Blanks();
}
