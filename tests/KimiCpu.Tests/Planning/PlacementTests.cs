// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Devices;
using KimiCpu.Planning;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Planning;

[TestFixture]
internal sealed class PlacementTests
{
    private const double GiB = 1 << 30;

    /// <summary>Twenty tokens an expert, within what other models and the memory allow.</summary>
    [TestCase(384, 8, 4096, 960)]
    [TestCase(384, 8, 500, 500)]
    [TestCase(256, 8, 4096, 640)]
    [TestCase(64, 8, 4096, 256)]
    [TestCase(0, 0, 4096, 256)]
    public void Steps_of_prompts_give_each_expert_in_memory_some_tokens(int experts, int expertsPerToken, int large, int expected) =>
        Assert.That(ModelMemory.ChunkInMemory(experts, expertsPerToken, large), Is.EqualTo(expected));

    [Test]
    public void Plan_has_the_steps_that_the_model_has()
    {
        PlanMachine large = Machines.Workstation(1000e9);
        Assert.That(new MachinePlan(Machines.Thinking, large, 32_768).Placement.PrefillChunk, Is.EqualTo(960));
        Assert.That(new MachinePlan(Machines.Thinking, Machines.Workstation(), 32_768).Placement.PrefillChunk, Is.EqualTo(4096), "from drives");
    }

    [Test]
    public void Every_byte_has_one_place()
    {
        foreach (PlanGpu? gpu in new[] { null, Machines.Card(24), Machines.Card(96) })
        {
            Placement p = new MachinePlan(Machines.Thinking, Machines.Workstation() with { Gpu = gpu }, 32_768).Placement;
            Assert.That(p.Problem, Is.Null);
            Assert.That(p.Parts.Where(x => x.Component == Component.RoutedExperts).Sum(x => x.Bytes), Is.EqualTo((double)Machines.Thinking.RoutedBytes).Within(1.0));
            Assert.That(p.BytesIn(PlanPlace.Memory) + p.ReserveBytes + p.MemoryLeft, Is.EqualTo(256e9).Within(1.0));
            Assert.That(p.GpuLeft, Is.GreaterThanOrEqualTo(0));
        }
    }

    /// <summary>Windows goes on promising what weights took before they went to the GPU or to 8 bits; a page file as large gives it back.</summary>
    [TestCase(24, false, 21.1)]
    [TestCase(null, true, 19.74)]
    [TestCase(null, false, 0)]
    public void Memory_that_is_promised_in_vain_is_not_the_experts(int? card, bool int8HotPath, double expected)
    {
        PlanMachine machine = Machines.Workstation(64e9) with { Gpu = card is { } size ? Machines.Card(size) : null };
        Placement free = new MachinePlan(Machines.Thinking, machine, 32_768, int8HotPath).Placement;
        Placement none = new MachinePlan(Machines.Thinking, machine with { PromisableBeyondBytes = 0 }, 32_768, int8HotPath).Placement;
        Assert.That(none.Parts.Where(p => p.Name == PlacementPlanner.InVainName).Sum(p => p.Bytes), Is.EqualTo(expected * 1e9).Within(0.1e9));
        Assert.That((free.MemoryShare - none.MemoryShare) * Machines.Thinking.RoutedBytes, expected == 0 ? Is.Zero : Is.EqualTo(expected * 1e9).Within(3).Percent);
        Assert.That(none.BytesIn(PlanPlace.Memory) + none.ReserveBytes + none.MemoryLeft, Is.EqualTo(64e9).Within(1.0));
        Placement pageFile = new MachinePlan(Machines.Thinking, machine with { PromisableBeyondBytes = expected * 1.01e9 }, 32_768, int8HotPath).Placement;
        Assert.That(pageFile.MemoryShare, Is.EqualTo(free.MemoryShare));
    }

    /// <summary>Copies in 8 bits would only add to what is promised.</summary>
    [Test]
    public void What_does_not_fit_for_promises_is_told_to_need_a_page_file()
    {
        PlanMachine machine = Machines.Workstation(16e9);
        string usual = new MachinePlan(Machines.Thinking, machine, 32_768).Placement.Problem!;
        Assert.That(usual, Does.EndWith("A shorter --context, --int8-hot-path or more memory helps.").And.Not.Contains("page file"));
        string counted = new MachinePlan(Machines.Thinking, machine with { PromisableBeyondBytes = 0 }, 32_768, int8HotPath: true).Placement.Problem!;
        Assert.That(counted, Does.EndWith(" Of these the system goes on promising 19.7 GB to weights that are let go: a page file (Windows) or swap space (Linux) that is larger by so much needs none of them. A shorter --context or more memory helps."));
    }

    /// <summary>They save 9.25 GB of Kimi K2 Thinking, and what they replace is 19.7 GB.</summary>
    [TestCase(24e9, double.PositiveInfinity, true)]
    [TestCase(24e9, 24e9, true)]
    [TestCase(24e9, 11e9, true)]
    [TestCase(24e9, 10e9, false)]
    [TestCase(24e9, 0, false)]
    public void Copies_in_8_bits_are_named_where_they_help(double memory, double promisable, bool help)
    {
        PlanMachine machine = Machines.Workstation(memory) with { PromisableBeyondBytes = promisable };
        Placement stored = new MachinePlan(Machines.Thinking, machine, 32_768).Placement;
        Assert.That(stored.Problem, Does.EndWith(help ? " A shorter --context, --int8-hot-path or more memory helps." : " A shorter --context or more memory helps."));
        Assert.That(new MachinePlan(Machines.Thinking, machine, 32_768, int8HotPath: true).Placement.MemoryLeft > stored.MemoryLeft, Is.EqualTo(help));
    }

    [Test]
    public void Nothing_is_named_that_is_given_already_or_on_the_GPU()
    {
        PlanMachine machine = Machines.Workstation(8e9);
        Assert.That(new MachinePlan(Machines.Thinking, machine, 32_768, int8HotPath: true).Placement.Problem, Does.EndWith(" A shorter --context or more memory helps."));
        Placement onGpu = new MachinePlan(Machines.Thinking, Machines.Workstation(2e9) with { Gpu = Machines.Card(24) }, 32_768).Placement;
        Assert.That(onGpu.UsesGpu);
        Assert.That(onGpu.Problem, Does.EndWith("can be used. More memory helps."));
    }

    /// <summary>7,152 slots of 24 MiB in 180 GB, as the store has them, and not 7,266 experts of 24.77 MB.</summary>
    [Test]
    public void Experts_from_drives_take_whole_slots()
    {
        Placement usual = new MachinePlan(Machines.Thinking, Machines.Workstation(), 32_768).Placement;
        double others = usual.ReserveBytes + usual.Parts.Where(x => x.Place == PlanPlace.Memory && x.Component != Component.RoutedExperts && x.Name != "rounding of slots").Sum(x => x.Bytes);
        Placement p = new MachinePlan(Machines.Thinking, Machines.Workstation(others + 180e9), 32_768).Placement;
        double experts = p.Parts.Single(x => x is { Place: PlanPlace.Memory, Component: Component.RoutedExperts }).Bytes / Machines.Thinking.ExpertBytes;
        Assert.That(experts, Is.EqualTo(Math.Floor(180e9 / SlotMemory.BytesOfSlot((long)Machines.Thinking.ExpertBytes))).Within(1e-6));
        Assert.That(p.MemoryLeft, Is.InRange(0.0, 24.0 * (1 << 20)));
    }

    [Test]
    public void All_fits_from_640_GB_on()
    {
        Assert.That(new MachinePlan(Machines.Thinking, Machines.Workstation(640e9), 32_768).Placement.ResidentShare, Is.EqualTo(1));
        Assert.That(new MachinePlan(Machines.Thinking, Machines.Workstation(512e9) with { Gpu = Machines.Card(24) }, 32_768).Placement.ResidentShare, Is.EqualTo(0.87).Within(0.02));
        Assert.That(new MachinePlan(Machines.Thinking, Machines.Workstation(384e9) with { Gpu = Machines.Card(24) }, 32_768).Placement.ResidentShare, Is.EqualTo(0.65).Within(0.02));
    }

    [TestCase("Kimi-K2-Thinking", 32, "BF16")]
    [TestCase("Kimi-K2-Thinking", 32, "8 bits", 256e9, TestName = "Steps as large as drives want take memory from exact weights")]
    [TestCase("Kimi-K2-Thinking", 48, "8 bits")]
    [TestCase("Kimi-K2-Thinking", 128, "8 bits")]
    [TestCase("Kimi-K2-Instruct-0905", 128, "BF16")]
    public void A_card_of_24_GB_takes_the_first_precision_that_fits(string model, int context, string head, double memory = 1200e9)
    {
        PlanMachine machine = Machines.Workstation(memory) with { Gpu = Machines.Card(24) };
        Placement p = new MachinePlan(PlanSubject.Open(model), machine, context * 1024).Placement;
        Assert.That(p.Parts.Single(x => x is { Place: PlanPlace.Gpu, Component: Component.Head }).Format, Is.EqualTo(head));
        Assert.That(p.Parts.Single(x => x is { Place: PlanPlace.Gpu, Name: "KV cache" }).Format, Is.EqualTo("BF16"));
    }

    /// <summary>What exact weights would take is then there for experts.</summary>
    [Test]
    public void Weights_in_8_bits_can_be_asked_for_where_exact_ones_fit()
    {
        PlanMachine machine = Machines.Workstation() with { Gpu = Machines.Card(24) };
        Placement stored = new MachinePlan(Machines.Thinking, machine, 32_768).Placement;
        Placement small = new MachinePlan(Machines.Thinking, machine, 32_768, int8HotPath: true).Placement;
        string[] reduced = [.. small.Parts.Where(x => x is { Place: PlanPlace.Gpu, Format: "8 bits" }).Select(x => x.Name)];
        Assert.That(reduced, Is.EquivalentTo(new[] { "attention", "dense layers", "shared experts", "head" }));
        Assert.That(small.GpuShare, Is.GreaterThan(0.008), "half of what is left");
        Assert.That(stored.GpuShare, Is.LessThan(small.GpuShare));
    }

    /// <summary>The cache is the last to be reduced, and only for a context that nothing else makes room for.</summary>
    [TestCase(160, "BF16", 11.513e9)]
    [TestCase(256, "8 bits", 10.36e9)]
    public void A_card_of_24_GB_holds_the_whole_context_with_a_cache_in_8_bits(int context, string format, double bytes)
    {
        PlanMachine machine = Machines.Workstation() with { Gpu = Machines.Card(24) };
        Placement p = new MachinePlan(Machines.Thinking, machine, context * 1024).Placement;
        PlacedPart cache = p.Parts.Single(x => x is { Place: PlanPlace.Gpu, Name: "KV cache" });
        Assert.That((cache.Format, p.GpuNote), Is.EqualTo((format, (string?)null)));
        Assert.That(cache.Bytes, Is.EqualTo(bytes).Within(0.1).Percent);
        Assert.That(p.Parts.Where(x => x.Place == PlanPlace.Gpu && x.Component is not null).Select(x => x.Format), Has.Exactly(4).EqualTo("8 bits"));
    }

    [Test]
    public void A_card_of_16_GB_stays_unused_with_a_context_that_it_cannot_hold()
    {
        PlanMachine machine = Machines.Workstation() with { Gpu = Machines.Card(16) };
        Placement p = new MachinePlan(Machines.Thinking, machine, 256 * 1024).Placement;
        Assert.That(p.Parts.Where(x => x.Place == PlanPlace.Gpu), Is.Empty);
        Assert.That(p.GpuNote, Does.Contain("A shorter context or a larger card helps"));
    }

    /// <summary>Steps of 4,096 tokens, which suit drives, take 1.3 GiB more than usual ones: they give way to a GPU and to the context, but not to exact weights.</summary>
    [TestCase(12, 4, 512)]
    [TestCase(14, 32, 1024)]
    [TestCase(16, 32, 4096)]
    [TestCase(8, 32, 4096, false)]
    public void Steps_from_drives_are_halved_where_a_card_has_no_room_for_them(int card, int context, int chunk, bool used = true)
    {
        PlanMachine machine = Machines.Workstation() with { Gpu = Machines.Card(card) };
        Placement p = new MachinePlan(Machines.Thinking, machine, context * 1024).Placement;
        TestContext.Out.WriteLine($"{p.PrefillChunk} tokens, {p.GpuLeft / 1e9:F2} GB left");
        Assert.That((p.UsesGpu, p.PrefillChunk), Is.EqualTo((used, chunk)));
        Assert.That(p.Parts.Where(x => x is { Place: PlanPlace.Gpu, Name: "KV cache" }).Select(x => x.Format), Is.All.EqualTo("BF16"));
    }

    /// <summary>Of 4,096 tokens and the 64 answers beside them, as the plan of the GPU's memory counts it; what attention of prompts expands is there in any case.</summary>
    [Test]
    public void Larger_steps_take_what_the_Gpu_takes_for_them([Values(512, 4096)] int chunk)
    {
        ModelShape shape = WeightLoader.ShapeOf(Machines.Thinking.Config);
        long Counted(int rows) => new Workspace(shape, rows, Machines.Thinking.Config.IntermediateSize, lookAhead: false, expandedTokens: 0).Bytes;
        double planned = GpuPlan.LargerStepBytes(Machines.Thinking, chunk);
        Assert.That(planned, Is.EqualTo((double)Counted(chunk + GpuOpening.DecodeRows) - Counted(ModelMemory.UsualChunk + GpuOpening.DecodeRows)).Within(1).Percent);
        Placement placement = new MachinePlan(Machines.Thinking, Machines.Workstation(1200e9) with { Gpu = Machines.Card(24) }, 32_768, int8HotPath: true).Placement;
        double workspace = placement.Parts.Single(p => p is { Place: PlanPlace.Gpu, Name: "workspace" }).Bytes;
        Assert.That((placement.PrefillChunk, placement.GpuHasRing), Is.EqualTo((4096, true)));
        Assert.That(workspace, Is.EqualTo((GiB / 4) + GpuPlan.LargerStepBytes(Machines.Thinking, 4096)));
    }

    /// <summary>The GPU's kernels know INT4 experts only.</summary>
    [TestCase(24, 128, 960)]
    [TestCase(24, 160, 480)]
    [TestCase(96, 128, 960)]
    public void Experts_in_other_formats_stay_off_the_Gpu(int card, int context, int chunk)
    {
        PlanMachine machine = Machines.Workstation(1200e9) with { Gpu = Machines.Card(card) };
        Placement p = new MachinePlan(PlanSubject.Open("Kimi-K2-Instruct-0905"), machine, context * 1024).Placement;
        TestContext.Out.WriteLine($"{p.PrefillChunk} tokens, {p.GpuLeft / 1e9:F2} GB left");
        Assert.That((p.UsesGpu, p.GpuHasRing, p.GpuShare, p.PrefillChunk), Is.EqualTo((true, false, 0.0, chunk)));
        Assert.That(p.Parts.Where(x => x.Place == PlanPlace.Gpu && (x.Component == Component.RoutedExperts || x.Name == PlacementPlanner.RingName)), Is.Empty);
    }

    /// <summary>The other half of what is left is the cache's, unless its size is given.</summary>
    [Test]
    public void Experts_have_half_of_what_is_left_of_a_Gpu()
    {
        PlanMachine machine = Machines.Workstation(1200e9) with { Gpu = Machines.Card(141) };
        Placement p = new MachinePlan(Machines.Thinking, machine, 32_768).Placement;
        double experts = p.Parts.Where(x => x.Place == PlanPlace.Gpu && (x.Component == Component.RoutedExperts || x.Name == PlacementPlanner.RingName)).Sum(x => x.Bytes);
        Assert.That(experts, Is.EqualTo(p.GpuLeft).Within(2 * Machines.Thinking.ExpertBytes).And.GreaterThan(50 * GiB));
        Placement fromDrives = new MachinePlan(Machines.Thinking, machine with { MemoryBytes = Fact.Given(256e9) }, 32_768).Placement;
        Assert.That(fromDrives.GpuHasRing, Is.True, "what drives bring in passes through as what is in memory does");
        Assert.That(fromDrives.GpuShare, Is.EqualTo(p.GpuShare).Within(0.005));
    }

    [Test]
    public void Gpu_sizes_are_those_computed_by_hand()
    {
        GpuPlan stored = GpuPlan.Fit(Machines.Thinking, 32_768, int8HotPath: false, 22.7 * GiB)!;
        double Part(string name) => stored.Parts.Single(p => p.Name == name).Bytes / GiB;
        Assert.That(Part("attention"), Is.EqualTo(11.490).Within(0.001));
        Assert.That(Part("shared experts"), Is.EqualTo(4.922).Within(0.001));
        Assert.That(Part("dense layers"), Is.EqualTo(0.738).Within(0.001));
        Assert.That(Part("head"), Is.EqualTo(2.188).Within(0.001));
        Assert.That(Part("KV cache"), Is.EqualTo(2.145).Within(0.001));
        GpuPlan smallest = GpuPlan.Smallest(Machines.Thinking, 262_144);
        Assert.That(smallest.Parts.Single(p => p.Name == "KV cache").Bytes / GiB, Is.EqualTo(9.650).Within(0.001));
        Assert.That(262_144.0 * Machines.Thinking.Summary.CacheBytesPerToken / GiB, Is.EqualTo(17.156).Within(0.001));
        Assert.That(smallest.Parts.Single(p => p.Name == "attention").Bytes / GiB, Is.EqualTo(5.835).Within(0.001));
    }

    [Test]
    public void What_does_not_fit_is_said_with_numbers()
    {
        Placement p = new MachinePlan(Machines.Thinking, Machines.Workstation(16e9) with { Gpu = Machines.Card(8) }, 32_768).Placement;
        Assert.That(p.Problem, Does.Contain("16.0 GB can be used").And.Contain("GB of memory are needed"));
        Assert.That(p.GpuNote, Does.Contain("stays unused"));
        Assert.That(p.MemoryLeft, Is.Negative);
    }

    [Test]
    public void Upgrades_are_sorted_by_what_they_bring()
    {
        IReadOnlyList<PlanUpgrade> upgrades = new MachinePlan(Machines.Thinking, Machines.Workstation(), 32_768).Upgrades();
        Assert.That(upgrades[0].Name, Is.EqualTo("twice the memory"));
        Assert.That(upgrades.Select(u => u.DecodeGain), Is.Ordered.Descending);
        Assert.That(upgrades.Select(u => u.Name), Has.Member("one more drive like the fastest, all striped").And.Member("a GPU of 24 GB (estimate)"));
        Assert.That(new MachinePlan(Machines.Thinking, Machines.Workstation(700e9), 32_768).Upgrades().Select(u => u.Name), Has.No.Member("twice the memory"));
    }

    [TestCase("k2", "Kimi-K2-Instruct", "FP8 128x128")]
    [TestCase("moonshotai/Kimi-K2-Instruct-0905", "Kimi-K2-Instruct-0905", "FP8 128x128")]
    [TestCase("K2 Thinking", "Kimi-K2-Thinking", "INT4 g32")]
    [TestCase("kimi_k2.5", "Kimi-K2.5", "INT4 g32")]
    [TestCase("KIMI-K2.6", "Kimi-K2.6", "INT4 g32")]
    [TestCase("nano", "kimi-nano", "INT4 g32")]
    public void Names_are_matched_forgivingly(string name, string expected, string format)
    {
        PlanSubject subject = PlanSubject.Open(name);
        Assert.That(subject.Name, Is.EqualTo(expected));
        Assert.That(subject.Summary.Components.Single(c => c.Component == Component.RoutedExperts).Formats, Is.EqualTo(new[] { format }));
    }

    [Test]
    public void An_unknown_name_lists_the_known_ones() =>
        Assert.That(() => PlanSubject.Open("gpt-2"), Throws.ArgumentException.With.Message.Contains("'gpt-2'").And.Message.Contains("Kimi-K2-Thinking").And.Message.Contains("kimi-nano"));

    [Test]
    public void Known_shapes_have_the_bytes_of_files_in_the_same_layout([Values("tiny-int4", "tiny-fp8", "tiny-bf16")] string name)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(name));
        StoredFormat format = name switch { "tiny-int4" => StoredFormat.Int4Group32, "tiny-fp8" => StoredFormat.Float8Block, _ => StoredFormat.BFloat16 };
        IEnumerable<(Component, long)> Sizes(CheckpointSummary s) => s.Components.Where(c => c.Component is not (Component.Router or Component.Norms)).Select(c => (c.Component, c.Bytes));
        Assert.That(Sizes(CheckpointSummary.Of(checkpoint.Config, format)), Is.EqualTo(Sizes(CheckpointSummary.Of(checkpoint))));
    }
}
