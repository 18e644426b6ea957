// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Memory;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Memory that was free when a plan was made and is refused when it is asked for, as on a card with a display.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class RefusedMemoryTests
{
    private static readonly int[] s_tokens = [1, 2, 3];

    /// <summary>Whichever allocation it is; what the model computes does not depend on it.</summary>
    [Test]
    public void A_refusal_makes_the_plan_anew_with_less()
    {
        int[] calls;
        float[] expected;
        long free;
        using (var sound = new SimulatedDriver())
        using (GpuModel model = Open(sound))
        {
            calls = [.. sound.Sequence.Index().Where(c => c.Item == "cuMemAlloc").Select(c => c.Index + 1)];
            (expected, free) = (model.Logits(s_tokens), model.Plan.FreeBytes);
        }

        Assert.That(calls, Has.Length.EqualTo(5), "weights, activations, cache, inputs, rows of logits");
        foreach (int call in calls)
        {
            using var driver = new SimulatedDriver { FailingCall = call, Failure = CUResult.ErrorOutOfMemory };
            using (GpuModel model = Open(driver))
            {
                Assert.That(model.Plan.FreeBytes, Is.EqualTo(free - (free / 20)), $"call {call}");
                Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.Contains("60 MiB at most"));
                Assert.That(model.Logits(s_tokens), Is.EqualTo(expected));
            }

            Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        }
    }

    /// <summary>Of 64 MiB, of which a plan leaves a fortieth.</summary>
    [TestCase(1, 0)]
    [TestCase(4, 1)]
    [TestCase(8, 3)]
    public void Memory_that_is_gone_is_done_without(int goneMib, int refusals)
    {
        using var driver = new SimulatedDriver { TakenBytes = (long)goneMib << 20 };
        using GpuModel model = Open(driver);
        Assert.That(model.Warnings, Has.Count.EqualTo(refusals));
        Assert.That(model.Logits(s_tokens), Has.None.NaN);
    }

    [Test]
    public void Refusals_have_an_end()
    {
        using var driver = new SimulatedDriver { TakenBytes = 32 << 20 };
        Assert.That(() => Open(driver), Throws.TypeOf<CudaException>().With.Message.Contains("cuMemAlloc failed with CUDA error 2"));
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void Memory_that_is_the_systems_is_left_to_it()
    {
        MemoryPlan Plan(bool shares, long? expertBytes, long? cacheBytes = null)
        {
            using var driver = new SimulatedDriver { SharesMemory = shares };
            using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), placement: new HotExpertTests.Fixed(share: 0), expertBytes: expertBytes, cacheBytes: cacheBytes);
            Assert.That(model.Logits(s_tokens), Has.None.NaN);
            return model.Plan;
        }

        (MemoryPlan own, MemoryPlan shared, MemoryPlan asked) = (Plan(false, null), Plan(true, null), Plan(true, 4 << 20));
        Assert.That(own.CacheTokens, Is.GreaterThan(10 * 512));
        Assert.That(own.ExpertSlots, Is.Positive);
        Assert.That((shared.CacheTokens, shared.ExpertSlots, shared.ExpertBytes), Is.EqualTo((512, 0, 0)));
        Assert.That((shared.CacheFormat, shared.Weights), Is.EqualTo((own.CacheFormat, own.Weights)));
        Assert.That((asked.CacheTokens, asked.ExpertSlots > 0), Is.EqualTo((512, true)));
        Assert.That(Plan(true, null, 1L << 40).CacheTokens, Is.EqualTo(512), "more than there is asks for no share of it");
    }

    /// <summary>As after a checkpoint was downloaded, whose pages the driver counts as taken where they lie in the GPU's memory.</summary>
    [Test]
    public void Pages_of_files_are_free_where_memory_is_the_systems([Values] bool shares)
    {
        const long Limit = 4 << 20;
        MemoryPlan Plan(long cached, Func<long>? system)
        {
            using var driver = new SimulatedDriver { SharesMemory = shares, CachedBytes = cached };
            using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), cacheBytes: Limit, systemBytes: system);
            Assert.That(model.Logits(s_tokens), Has.None.NaN);
            Assert.That((model.Warnings, driver.Fault), Is.EqualTo((Array.Empty<string>(), (string?)null)));
            return model.Plan;
        }

        const long Cached = SimulatedDriver.DefaultBytes - (512 << 10);
        MemoryPlan free = Plan(0, null);
        Assert.That(() => Plan(Cached, null), Throws.TypeOf<CudaException>().With.Message.Contains(shares ? "Free main memory" : "nvidia-smi"));
        if (shares)
        {
            Assert.That(free.CacheTokens, Is.GreaterThan(512), "as the limit says");
            Assert.That(Plan(Cached, () => long.MaxValue), Is.EqualTo(free), "no more than there is");
            Assert.That(Plan(Cached, () => SimulatedDriver.DefaultBytes), Is.EqualTo(free));
            Assert.That(Plan(0, () => 0), Is.EqualTo(free), "the driver knows it better");
        }
        else
        {
            Assert.That(() => Plan(Cached, () => SimulatedDriver.DefaultBytes), Throws.TypeOf<CudaException>().With.Message.Contains("does not fit the GPU"));
        }
    }

    /// <summary>What a GPU may not be given up for: most of that memory is for the tokens of a step.</summary>
    [TestCase(0, 80)]
    [TestCase(640, 640)]
    public void Steps_give_way_where_page_locked_memory_is_refused(int readRows, int rows)
    {
        float[] expected;
        long bytes;
        using (var sound = new SimulatedDriver())
        using (GpuModel model = Open(sound, fewest: 20))
        {
            Assert.That((model.Plan.MaxRows, model.Warnings), Is.EqualTo((rows, Array.Empty<string>())));
            (expected, bytes) = (model.Logits(s_tokens), sound.MostHostBytes);
        }

        using (var driver = new SimulatedDriver { TotalHostBytes = bytes - 1 })
        {
            using (GpuModel model = Open(driver, fewest: 20))
            {
                Assert.That(model.Plan.MaxRows, Is.EqualTo(rows / 2));
                Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.StartsWith($"Steps have at most {rows / 2} tokens: the system refused page-locked memory"));
                Assert.That(model.Logits(s_tokens), Is.EqualTo(expected));
            }

            Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        }

        using (var little = new SimulatedDriver { TotalHostBytes = 1 })
        {
            Assert.That(() => Open(little, fewest: 20), Throws.TypeOf<CudaException>().With.Message.Contains("cuMemHostAlloc"), "refused at the fewest too");
            Assert.That((little.LiveObjects, little.Fault), Is.EqualTo((0, (string?)null)));
        }

        using var asked = new SimulatedDriver { TotalHostBytes = 1 };
        Assert.That(() => Open(asked, fewest: null), Throws.TypeOf<CudaException>().With.Message.Contains("cuMemHostAlloc"));

        GpuModel Open(SimulatedDriver driver, int? fewest) => new(driver, Repository.Checkpoint("tiny-qproj"), fewestRows: fewest, readRows: readRows);
    }

    /// <summary>Experts that stay take one page-locked buffer; that of steps is twice as large and more.</summary>
    [Test]
    public void Steps_give_way_before_experts_where_page_locked_memory_is_refused()
    {
        long bytes;
        int experts;
        using (var sound = new SimulatedDriver())
        using (GpuModel model = Open(sound))
        {
            (bytes, experts) = (sound.MostHostBytes, model.Plan.ExpertSlots);
            Assert.That(experts, Is.Positive);
        }

        using var driver = new SimulatedDriver { TotalHostBytes = bytes - 1 };
        using GpuModel halved = Open(driver);
        Assert.That((halved.Plan.MaxRows, halved.Plan.ExpertSlots), Is.EqualTo((40, experts)));

        static GpuModel Open(SimulatedDriver driver) =>
            new(driver, Repository.Checkpoint("tiny-steady"), placement: new HotExpertTests.Fixed(1.0), expertBytes: null, fewestRows: 20);
    }

    /// <summary>As under Windows and in its Subsystem for Linux. What was refused once would be refused for good.</summary>
    [Test]
    public void Page_locked_memory_that_counts_against_the_GPUs_has_room_there([Values] bool experts)
    {
        float[] expected;
        using (var sound = new SimulatedDriver())
        using (GpuModel model = Charged(sound, experts, charges: false))
        {
            Assert.That(model.Plan.LockedBytes, Is.Zero);
            expected = model.Logits(s_tokens);
        }

        using var driver = new SimulatedDriver { ChargesHostMemory = true };
        using GpuModel charged = Charged(driver, experts, charges: true);
        MemoryPlan plan = charged.Plan;
        Assert.That((charged.Warnings, plan.RingSlots > 0, plan.ExpertSlots > 0), Is.EqualTo((Array.Empty<string>(), experts, experts)));
        Assert.That(plan.LockedBytes, Is.GreaterThanOrEqualTo(driver.MostHostBytes).And.LessThan(driver.MostHostBytes + (64 << 10) + LockedMemory.OfPage(plan.MaxRows) * plan.Pages), "no sequence has all pages");
        Assert.That(plan.WeightBytes + plan.WorkspaceBytes + plan.CacheBytes + plan.ExpertBytes + plan.RingBytes + plan.LockedBytes, Is.LessThanOrEqualTo(plan.FreeBytes - (plan.FreeBytes / 40)));
        Assert.That(plan.ToString(), Does.Contain("page-locked main memory ("));
        Assert.That(charged.Logits(s_tokens), Is.EqualTo(expected));
    }

    /// <summary>A display that has taken some is no reason to lose page-locked memory too: of what is refused first the plan can be made again.</summary>
    [Test]
    public void Memory_that_is_gone_is_done_without_where_page_locked_memory_counts_too()
    {
        using var driver = new SimulatedDriver { ChargesHostMemory = true, TakenBytes = 4 << 20 };
        using GpuModel model = Charged(driver, experts: false, charges: true);
        Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.Contains("60 MiB at most"));
        Assert.That(model.Logits(s_tokens), Has.None.NaN);
    }

    /// <summary>The codes that want of memory has under Windows and in its Subsystem for Linux.</summary>
    [TestCase("cuMemAlloc", 600, false)]
    [TestCase("cuMemAlloc", 600, true)]
    [TestCase("cuMemHostAlloc", 600, true)]
    [TestCase("cuMemHostAlloc", 208, true)]
    [TestCase("cuMemHostAlloc", 2, true)]
    public void A_refusal_in_other_words_is_one(string function, int code, bool charges)
    {
        using var driver = new SimulatedDriver { FailingFunction = function, Failure = (CUResult)code };
        using GpuModel model = Charged(driver, experts: false, charges);
        Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.Contains("60 MiB at most"));
        Assert.That(model.Logits(s_tokens), Has.None.NaN);
    }

    /// <summary>Less of either may be what helps.</summary>
    [Test]
    public void Experts_and_memory_of_the_GPU_give_way_where_page_locked_memory_is_refused_that_counts_there()
    {
        using var driver = new SimulatedDriver { FailingFunction = "cuMemHostAlloc", Failure = CUResult.ErrorAlreadyMapped };
        using GpuModel model = Charged(driver, experts: true, charges: true);
        Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.Contains("No routed experts pass through the GPU in prompts").And.Some.Contains("A lower KvCacheBytes helps"));
        Assert.That((model.Plan.RingSlots, model.Plan.FreeBytes), Is.EqualTo((0, SimulatedDriver.DefaultBytes - (SimulatedDriver.DefaultBytes / 20))));
    }

    private static GpuModel Charged(SimulatedDriver driver, bool experts, bool charges) => experts
        ? new(driver, Repository.Checkpoint("tiny-steady"), placement: new HotExpertTests.Fixed(1.0), expertBytes: null, split: new StreamedExpertTests.Forced(2), driverCollects: charges)
        : new(driver, Repository.Checkpoint("tiny-qproj"), driverCollects: charges);

    private static GpuModel Open(SimulatedDriver driver) => new(driver, Repository.Checkpoint("tiny-qproj"));
}
