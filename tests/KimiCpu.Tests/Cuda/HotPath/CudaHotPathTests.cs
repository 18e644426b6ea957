// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole tiny models: the hot path's shipped kernels over the simulated driver, the routed experts by the reference.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class CudaHotPathTests
{
    /// <summary>A small model with attention that suits the tensor cores; sizes are no multiples of a tile's.</summary>
    internal const string OfTensorCores = "nano,hidden=128,layers=2,dense=1,intermediate=96,experts=4,topk=1,moe=32,heads=32,qlora=48,kvlora=512,nope=16,rope=64,v=24,vocab=131";

    /// <summary>
    /// Queries and cache are rounded to BF16 and everything else is not, so this is nearer to the reference than the CPU's fast path.
    /// Rounding may still choose another expert where two are about as good, except in tiny-steady.
    /// </summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Logits_agree_with_the_goldens([ValueSource(typeof(Golden), nameof(Golden.Checkpoints))] string checkpoint, [Values] bool tensorCores)
    {
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint(checkpoint), manyRows: tensorCores ? 1 : int.MaxValue);
        foreach (Golden golden in Golden.Load(checkpoint).Where(g => g.Tokens.Length <= 40).Take(2))
        {
            float[] all = model.Logits(golden.Tokens);
            float[] logits = [.. golden.LogitPositions.SelectMany(p => all.AsSpan(p * model.Vocabulary, model.Vocabulary).ToArray())];
            Agreement agreement = Agreement.Of(golden.Logits, logits, model.Vocabulary);
            TestContext.Out.WriteLine($"{checkpoint} {golden.Name}: {agreement}");
            Assert.That(agreement.MedianCosine, Is.GreaterThanOrEqualTo(0.999), golden.Name);
            if (checkpoint == "tiny-steady")
            {
                Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999), golden.Name);
            }
        }

        Assert.That(driver.Launches("gemm"), tensorCores ? Is.Null.Or.Positive : Is.Null.Or.Zero);
    }

    /// <summary>Both ways multiply as good as in single precision; what differs is the cache, where another value is the nearest BF16 now and then.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Prompts_agree_with_token_by_token_and_do_not_depend_on_their_parts()
    {
        int[] tokens = [.. Enumerable.Range(3, 70)];
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-steady"));
        float[] few = model.Logits(tokens, LinearProgram.DefaultManyRows - 1);
        int? before = driver.Launches("gemm");
        float[] many = model.Logits(tokens);
        Agreement agreement = Agreement.Of(few, many, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(5e-3));

        // Three projections for each of three layers' attention, two of a dense layer, and three of two routers with their shared experts.
        Assert.That(before, Is.Null.Or.Zero);
        Assert.That(driver.Launches("gemm"), Is.Null.Or.EqualTo((3 * 3) + 2 + (3 * 2)));
        Assert.That(model.Logits(tokens, 35), Is.EqualTo(many));
    }

    /// <summary>A latent of 512 with 32 heads, as the tensor cores want them, in a small model; prompts in parts, and two at once.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Attention_of_prompts_runs_on_the_tensor_cores()
    {
        using var checkpoint = new SyntheticModel(OfTensorCores);
        int[] tokens = [.. Enumerable.Range(1, 75)];
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using var driver = new GpuUnderTest(256 << 20);
        using var model = new GpuModel(driver, checkpoint.Folder);
        float[] logits = model.Logits(tokens, 38);
        Agreement agreement = Agreement.Of(reference.Logits(tokens), logits, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999));
        Assert.That(driver.Launches("mla_rows_512"), Is.Null.Or.EqualTo(4));
        Assert.That(driver.Launches("mla_512") + driver.Launches("expand"), Is.Null.Or.Zero);
        Assert.That(model.Logits(tokens), Is.EqualTo(logits));
    }

    /// <summary>Weights rounded to 8 bits when the model is opened: the same ones for the tensor cores and the kernels for few rows.</summary>
    [Test]
    public void Prompts_times_8_bit_weights_agree_with_those_of_few_rows()
    {
        using var checkpoint = new SyntheticModel(OfTensorCores);
        int[] tokens = [.. Enumerable.Range(1, 70)];
        using var driver = new SimulatedDriver { TotalBytes = 256 << 20 };

        // No plan has room for so long a context, so the last one is taken.
        using var model = new GpuModel(driver, checkpoint.Folder, contextTokens: 1 << 30);
        Assert.That(model.Plan.Weights, Is.EqualTo(WeightPlan.All[^1]));
        float[] few = model.Logits(tokens, LinearProgram.DefaultManyRows - 1);
        Assert.That(Launches(driver, "gemm"), Is.Zero);
        float[] many = model.Logits(tokens);
        Agreement agreement = Agreement.Of(few, many, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(5e-3));

        // Four projections for each of two layers' attention, the values of its heads among them, and two of a dense layer and of a shared expert; the router stays as stored.
        Assert.That((Launches(driver, "gemm_int8"), Launches(driver, "gemm_bf16")), Is.EqualTo(((4 * 2) + 2 + 2, 1)));
        Assert.That(model.Logits(tokens, 35), Is.EqualTo(many));
    }

    private static int Launches(SimulatedDriver driver, string kernel) =>
        driver.LaunchesOf.Where(k => k.Key.StartsWith(kernel, StringComparison.Ordinal)).Sum(k => k.Value);

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Graphs_and_other_chunks_give_the_same_bits()
    {
        int[] tokens = [.. Enumerable.Range(3, 21)];
        using var driver = new GpuUnderTest();
        float[] eager;
        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), useGraphs: false))
        {
            eager = model.Logits(tokens);
            Assert.That(model.Logits(tokens, 5), Is.EqualTo(eager));
            Assert.That(model.HotPath.GraphCount, Is.Zero);
        }

        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4")))
        {
            Assert.That(model.Logits(tokens, 7), Is.EqualTo(eager));
            int recorded = model.HotPath.GraphCount;
            Assert.That(model.Logits(tokens, 7), Is.EqualTo(eager));

            // An attention segment for every layer, a shared one for every MoE layer, and the last layer's end.
            Assert.That(recorded, Is.EqualTo(model.HotPath.GraphCount).And.EqualTo(4 + 3 + 1));
        }

        Assert.That(driver.Simulated?.LiveObjects, Is.Null.Or.Zero);
    }

    /// <summary>Recordings are replayed, results come in one go, and nothing is allocated.</summary>
    [Test]
    public void A_pass_makes_few_calls_and_none_that_waits()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"));
        model.Logits([1, 2, 3], 1);
        var before = new Dictionary<string, int>(driver.CallsOf);
        model.Logits([1, 2, 3], 1);
        Dictionary<string, int> calls = driver.CallsOf.Where(c => c.Value > before.GetValueOrDefault(c.Key)).ToDictionary(c => c.Key, c => c.Value - before.GetValueOrDefault(c.Key));
        Assert.That(calls.Keys, Is.EquivalentTo(new[] { "cuCtxSetCurrent", "cuGraphLaunch", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuEventRecord", "cuEventQuery", "cuStreamQuery" }));
        Assert.That((calls["cuLaunchKernel"], calls["cuMemcpyHtoDAsync"], calls["cuMemcpyDtoHAsync"]), Is.EqualTo((3, 9, 6)), "of three passes: the head; inputs, embeddings and logit rows; logits and marks");
    }

    /// <summary>And recorded later, when there may be memory again.</summary>
    [Test]
    public void Recordings_for_which_there_is_no_memory_are_done_without([Values("cuGraphInstantiateWithFlags", "cuGraphLaunch")] string function)
    {
        int[] tokens = [1, 2, 3];
        using var driver = new SimulatedDriver();
        float[] expected;
        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"), useGraphs: false))
        {
            expected = model.Logits(tokens, 2);
        }

        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj")))
        {
            (driver.FailingFunction, driver.Failure) = (function, CUResult.ErrorOutOfMemory);
            Assert.That(model.Logits(tokens, 2), Is.EqualTo(expected));
            Assert.That((driver.FailingFunction, model.HotPath.GraphCount), Is.EqualTo(((string?)null, 0)));
            Assert.That(model.Warnings, Has.Count.EqualTo(1).And.Some.Contains($"no memory left to record launches ({function} failed with CUDA error 2)"));
            using KvSequence sequence = model.Cache.CreateSequence();
            for (int token = 0; token < 64; token++)
            {
                model.Step(sequence, [token]);
            }

            Assert.That(model.HotPath.GraphCount, Is.Positive);
            Assert.That(model.Logits(tokens, 2), Is.EqualTo(expected));
            Assert.That(model.Warnings, Has.Count.EqualTo(1));
        }

        Assert.That(driver.LiveObjects, Is.Zero);
    }

    /// <summary>Of passes of up to eight tokens there are two kinds, however long the cache.</summary>
    [Test]
    public void Launches_are_recorded_anew_once_as_a_cache_grows()
    {
        int[] grids = [.. Enumerable.Range(1, 300_000).Select(KernelSet.GridSplits).Distinct()];
        Assert.That(grids, Is.EqualTo(new[] { 4, KernelSet.MaxSplits }));
        Assert.That(Enumerable.Range(1, 300_000).Where(tokens => KernelSet.GridSplits(tokens) < KernelSet.Splits(tokens)), Is.Empty);
    }

    /// <summary>A copy that an earlier failure left in the stream would land in the buffer that a later one fills.</summary>
    [Test]
    public void After_a_failure_nothing_of_it_is_under_way()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1, 2, 3]);
        var bytes = new byte[3 * (model.HotPath.BytesPerPage / KvPage.Tokens)];
        model.HotPath.ReadPage(0, 3, bytes);
        var other = new byte[bytes.Length];
        Random.Shared.NextBytes(other);
        (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
        Assert.That(() => model.HotPath.ReadPage(0, 3, bytes), Throws.TypeOf<CudaException>());
        Assert.That(model.HotPath.Settle());
        model.HotPath.WritePage(1, 3, other);
        model.HotPath.ReadPage(1, 3, bytes);
        Assert.That(bytes, Is.EqualTo(other));
        (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
        Assert.That(model.HotPath.Settle(), Is.False);
        Assert.That(() => model.HotPath.ReadPage(1, 3, bytes), Throws.TypeOf<GpuLostException>());
    }

    /// <summary>As the application's thread that disposes of a model which the engine's thread has run. The driver takes things back only from a thread that has the GPU.</summary>
    [Test]
    public void Another_thread_may_give_back_a_GPU_that_is_lost_without_an_error_that_stays([Values] bool isLost)
    {
        using var driver = new SimulatedDriver();
        var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
        model.Logits([1, 2, 3]);
        if (isLost)
        {
            (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
            Assert.That(model.HotPath.Settle(), Is.False);
            Assert.That(() => model.Logits([1]), Throws.TypeOf<GpuLostException>());
        }

        var other = new Thread(model.Dispose);
        other.Start();
        other.Join();
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Pages_are_read_written_and_copied_as_on_the_CPU()
    {
        int[] tokens = [.. Enumerable.Range(1, 70)];
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, tokens);
        long perToken = model.HotPath.BytesPerPage / KvPage.Tokens;
        int page = sequence.Pages.Span[1];
        var bytes = new byte[6 * perToken];
        model.HotPath.ReadPage(page, 6, bytes);
        model.HotPath.CopyPage(page, 5);
        var copied = new byte[bytes.Length];
        model.HotPath.ReadPage(5, 6, copied);
        Assert.That(copied, Is.EqualTo(bytes));
        model.HotPath.WritePage(7, 6, bytes);
        model.HotPath.ReadPage(7, 6, copied);
        Assert.That(copied, Is.EqualTo(bytes));

        // The reference has the same latents, not yet rounded.
        using var reference = new ReferenceHotPath(model.Weights);
        using var experts = new ReferenceExperts(model.Weights);
        reference.ReservePages(2);
        var batch = new RaggedBatch();
        batch.Add(tokens, 0, new[] { 0, 1 }, LogitsWanted.None);
        new ForwardPass(model.Weights, reference, experts).Run(batch, []);
        var exact = new byte[bytes.Length * 2];
        reference.ReadPage(1, 6, exact);
        ReadOnlySpan<float> expected = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(exact);
        ReadOnlySpan<ushort> actual = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, ushort>(bytes);
        for (int i = 0; i < actual.Length; i++)
        {
            Assert.That(BFloat16.ToSingle(actual[i]), Is.EqualTo(expected[i]).Within(0.02 * Math.Max(1, Math.Abs(expected[i]))));
        }
    }

    [Test]
    public void A_NaN_is_reported_with_its_layer_and_row()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"));
        model.Experts = new PoisonedExperts(model.Weights, layer: 2, row: 1);
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1, 2, 3]);

        // Row 2 sees row 1 in the next layer's attention; row 0 does not.
        Assert.That(Enumerable.Range(0, 3).Select(model.HotPath.NonFiniteLayer), Is.EqualTo(new[] { -1, 2, 3 }));
    }

    [Test]
    public void Every_call_that_fails_fails_clearly_and_leaks_nothing()
    {
        string[] called;
        int opened = 0;
        using (SimulatedDriver sound = Driver(0, default))
        {
            called = [.. sound.Sequence.Take(Run(sound, () => opened = sound.Calls))];
            Assert.That(sound.LiveObjects, Is.Zero);
        }

        // The application's context is asked for first and set again behind the opening. That fails in silence.
        Assert.That((called[0], called[opened - 1]), Is.EqualTo(("cuCtxGetCurrent", "cuCtxSetCurrent")));

        // Copies of weights and launches of layers are many and alike: those between the same two others fail where they are first and last.
        int[] calls = [.. Enumerable.Range(1, called.Length)
            .Where(c => c > 1 && c != opened)
            .GroupBy(c => (c > 1 ? called[c - 2] : "", called[c - 1], c < called.Length ? called[c] : ""))
            .SelectMany(g => g.Take(2).Union(g.TakeLast(2))).Order()];
        TestContext.Out.WriteLine($"{calls.Length} of {called.Length} calls fail");
        foreach (CUResult failure in new[] { CUResult.ErrorUnknown, CUResult.ErrorIllegalAddress })
        {
            foreach (int call in calls)
            {
                using SimulatedDriver driver = Driver(call, failure);
                string function = called[call - 1];
                string where = $"call {call}, {function}";
                Assert.That(() => Run(driver), Throws.InstanceOf<CudaException>().With.Message.StartsWith($"{function} failed with CUDA error {(int)failure}"), where);
                Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)), where);
            }
        }

        // A small device: its memory is filled each time.
        static SimulatedDriver Driver(int failingCall, CUResult failure) => new() { FailingCall = failingCall, Failure = failure, TotalBytes = 8 << 20 };

        // What is given back at the end may fail in silence.
        static int Run(SimulatedDriver driver, Action? opened = null)
        {
            using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
            opened?.Invoke();
            model.Logits([1, 2, 3], 2);
            return driver.Calls;
        }
    }

    [Test]
    public void A_GPU_that_hangs_or_dies_is_lost_and_says_so_from_then_on()
    {
        using var driver = new SimulatedDriver();
        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), patience: TimeSpan.FromSeconds(2)))
        {
            driver.Hangs = true;
            Assert.That(() => model.Logits([1, 2]), Throws.TypeOf<GpuLostException>().With.Message.Contains("has not finished layer 1 within 2 s"));
            Assert.That(() => model.Logits([1, 2]), Throws.TypeOf<GpuLostException>().With.Message.Contains("lost by an earlier error: Simulated GPU has not finished layer 1 within 2 s"));
        }

        // The GPU may still write to all of it.
        Assert.That(driver.LiveObjects, Is.Positive);
        Assert.That(driver.Fault, Is.Null);
    }

    [Test]
    public void Too_little_memory_steps_down_and_then_refuses_with_the_table()
    {
        // tiny-int4 with its work and a few pages takes about 5 MB; its weights about 2 MB in BF16.
        long weights;
        long work;
        using (var plenty = new SimulatedDriver())
        using (var model = new GpuModel(plenty, Repository.Checkpoint("tiny-int4")))
        {
            Assert.That(model.Plan.Weights.SmallHead, Is.False);
            (weights, work) = (model.Plan.WeightBytes, model.Plan.WorkspaceBytes);
        }

        using (var tight = new SimulatedDriver { TotalBytes = work + weights + (300 << 10) })
        using (var model = new GpuModel(tight, Repository.Checkpoint("tiny-int4"), contextTokens: 1500))
        {
            Assert.That(model.Plan.Weights.SmallHead, Is.True);
            Assert.That(model.Plan.CacheTokens, Is.GreaterThanOrEqualTo(1500));
            Assert.That(model.Logits([1, 2, 3]), Has.None.NaN);
        }

        using var tiny = new SimulatedDriver { TotalBytes = work };
        Assert.That(() => new GpuModel(tiny, Repository.Checkpoint("tiny-int4")), Throws.TypeOf<CudaException>().With.Message.Contains("too much"));
        Assert.That(tiny.LiveObjects, Is.Zero);
    }

    /// <summary>The cache gets the context that is wanted; what is left is for both, unless a wish says more.</summary>
    [Test]
    public void Memory_that_is_left_over_is_for_experts()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryPlan none = MemoryPlan.Fit(weights, new MemoryWish(80, 512), 16 << 20);
        Assert.That((none.ExpertSlots, none.ExpertBytes), Is.EqualTo((0, 0L)));
        long slot = ExpertSlotLayout.Of(weights)!.Bytes;
        long work = MemoryPlan.ExpertWorkBytes(weights.Shape, 80);
        MemoryPlan small = MemoryPlan.Fit(weights, new MemoryWish(80, 512, SmallWeights: true), 16 << 20);
        Assert.That(small.Weights, Is.EqualTo(WeightPlan.All[^1]));
        Assert.That(small.WeightBytes, Is.LessThan(none.WeightBytes));
        Assert.That(small.CacheTokens, Is.GreaterThan(none.CacheTokens));
        MemoryPlan all = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: null), 32 << 20);
        Assert.That((all.ExpertSlots, all.ExpertBytes), Is.EqualTo((3 * 16, work + (3 * 16 * slot))), "there are no more");
        Assert.That(all.CacheTokens, Is.LessThan(none.CacheTokens * 4).And.GreaterThan(512));
        MemoryPlan some = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (5 * slot)), 32 << 20);
        Assert.That(some.ExpertSlots, Is.EqualTo(5));
        Assert.That(some.ToString(), Does.Contain("5 routed experts"));

        // All but a context: half of what is left, or all of it where the cache's size is given.
        long free = none.FreeBytes - none.CacheBytes;
        MemoryPlan half = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: null), free + (2 << 20));
        MemoryPlan rest = MemoryPlan.Fit(weights, new MemoryWish(80, 512, CacheBytes: none.CacheBytes / 100, ExpertBytes: null), free + (2 << 20));
        Assert.That(half.ExpertSlots, Is.GreaterThan(0).And.LessThan(rest.ExpertSlots));

        // A ring for streamed experts comes first; without room for it things are as they were.
        MemoryPlan ring = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (5 * slot), StreamExperts: true), 32 << 20);
        Assert.That((ring.ExpertSlots, ring.RingSlots, ring.RingBytes, ring.ExpertBytes), Is.EqualTo((2, 3, 3 * slot, work + (2 * slot))));
        Assert.That(ring.ToString(), Does.Contain("2 routed experts (").And.Contain("ring for 3 streamed ones ("));
        MemoryPlan alone = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (3 * slot), StreamExperts: true), 32 << 20);
        Assert.That((alone.ExpertSlots, alone.RingSlots, alone.ExpertBytes), Is.EqualTo((0, 3, work)));
        MemoryPlan narrow = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (3 * slot) - 1, StreamExperts: true), 32 << 20);
        Assert.That((narrow.ExpertSlots, narrow.RingSlots, narrow.RingBytes), Is.EqualTo((2, 0, 0L)));
        MemoryPlan nothing = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: 0, StreamExperts: true), 32 << 20);
        Assert.That((nothing.ExpertBytes, nothing.RingSlots), Is.EqualTo((0L, 0)));
        foreach (MemoryPlan plan in new[] { none, all, some, half, rest, ring, alone, narrow })
        {
            Assert.That(plan.WeightBytes + plan.WorkspaceBytes + plan.CacheBytes + plan.ExpertBytes + plan.RingBytes, Is.LessThanOrEqualTo(plan.FreeBytes));
        }

        // Passes become larger where that takes no more than a quarter of what is to spare, and nothing from weights, context or a cache of a given size.
        MemoryWish many = new(80, 512, ExpertBytes: null, StreamExperts: true, ManyRows: 640);
        MemoryPlan roomy = MemoryPlan.Fit(weights, many, 64 << 20);
        MemoryPlan tight = MemoryPlan.Fit(weights, many, free + (2 << 20));
        MemoryPlan full = MemoryPlan.Fit(weights, many with { CacheBytes = roomy.CacheBytes }, 64 << 20);
        TestContext.Out.WriteLine($"{roomy.MaxRows}: {roomy}\n{tight.MaxRows}: {tight}");
        Assert.That((roomy.MaxRows, tight.MaxRows, tight.RingSlots, full.CacheBytes), Is.EqualTo((640, 80, 3, roomy.CacheBytes)));
        Assert.That(tight.CacheTokens, Is.GreaterThanOrEqualTo(512));
        Assert.That(MemoryPlan.Fit(weights, many with { StreamExperts = false }, 64 << 20).MaxRows, Is.EqualTo(80));

        // BF16 experts stay on the CPU.
        using Checkpoint other = Checkpoint.Open(Repository.Checkpoint("tiny-qproj"));
        Assert.That(MemoryPlan.Fit(WeightLoader.Load(other), new MemoryWish(80, 512, ExpertBytes: null), 32 << 20).ExpertSlots, Is.Zero);
    }

    /// <summary>A pass reads most experts in main memory, however few tokens it has. Which of both numbers counts depends on who has the experts.</summary>
    [TestCase("tiny-fp8", null)]
    [TestCase("tiny-int4", 0L)]
    public void Passes_become_larger_where_the_CPU_computes_all_experts(string model, long? expertBytes)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(model));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryWish wish = new(80, 512, ExpertBytes: expertBytes, StreamExperts: true, ManyRows: 640, ReadRows: 320);
        MemoryPlan roomy = MemoryPlan.Fit(weights, wish, 64 << 20);
        Assert.That((roomy.MaxRows, roomy.RingSlots), Is.EqualTo((320, 0)));
        MemoryPlan usual = MemoryPlan.Fit(weights, wish with { ReadRows = 80 }, 64 << 20);
        long needed = usual.FreeBytes - usual.CacheBytes + (1 << 20);
        MemoryPlan tight = MemoryPlan.Fit(weights, wish, needed);
        Assert.That((tight.MaxRows, tight.Weights), Is.EqualTo((80, MemoryPlan.Fit(weights, wish with { ReadRows = 80 }, needed).Weights)), "neither weights nor context give way");
        if (expertBytes is not null)
        {
            Assert.That(MemoryPlan.Fit(weights, wish with { ExpertBytes = null }, 64 << 20).MaxRows, Is.EqualTo(640), "where experts pass through");
            Assert.That(MemoryPlan.Fit(weights, wish with { ExpertBytes = null, StreamExperts = false }, 64 << 20).MaxRows, Is.EqualTo(320), "where page-locked memory is refused");
        }
    }

    /// <summary>A model on the simulated GPU.</summary>
    internal sealed class GpuModel : IDisposable
    {
        private readonly Checkpoint _checkpoint;
        private readonly GpuUnderTest _driver;
        private readonly CudaBackend _backend;

        public GpuModel(GpuUnderTest driver, string folder, bool useGraphs = true, TimeSpan? patience = null, int contextTokens = 512, int manyRows = LinearProgram.DefaultManyRows, IExpertPlacement? placement = null, long? expertBytes = 0, bool lookAhead = false, ExpertFiles? expertFiles = null, IStreamSplit? split = null, bool smallCache = false, bool smallWeights = false, int expandedTokens = ExpandedAttention.BlockTokens, int? expandedRows = null, bool driverCollects = false)
        {
            _driver = driver;
            _checkpoint = Checkpoint.Open(folder);
            Weights = WeightLoader.Load(_checkpoint);
            try
            {
                _backend = new CudaBackend(driver.Table, 0, Weights, new MemoryWish(80, contextTokens, smallCache, ExpertBytes: expertBytes, StreamExperts: split is not null, SmallWeights: smallWeights, LookAhead: lookAhead, ExpandedTokens: expandedTokens, ExpandedRows: expandedRows), new CudaHotPathOptions { Warn = Warnings.Add, Placement = placement, ExpertFiles = expertFiles, StreamSplit = split, UseGraphs = useGraphs, Patience = patience ?? CudaContext.DefaultPatience, ManyRows = manyRows, DriverCollects = driverCollects });
            }
            catch
            {
                _checkpoint.Dispose();
                throw;
            }

            Cache = new KvCache(HotPath, _backend.Plan.CacheBytes, Weights.Shape.MaxPositions);
            Experts = new ReferenceExperts(Weights);
        }

        public ModelWeights Weights { get; }

        public CudaHotPath HotPath => _backend.HotPath;

        public MemoryPlan Plan => _backend.Plan;

        /// <summary>What the opening told.</summary>
        public List<string> Warnings { get; } = [];

        public KvCache Cache { get; }

        public IRoutedExperts Experts { get; set; }

        /// <summary>Told what each MoE layer hands over.</summary>
        public Action<int, RoutedRows>? Routed { get; set; }

        public int Vocabulary => Weights.Shape.VocabularySize;

        public float[] Logits(int[] tokens, int? chunk = null)
        {
            using KvSequence sequence = Cache.CreateSequence();
            return [.. tokens.Chunk(chunk ?? tokens.Length).SelectMany(part => Step(sequence, part))];
        }

        public float[] Step(KvSequence sequence, int[] tokens)
        {
            Assert.That(sequence.TryExtend(tokens.Length));
            var batch = new RaggedBatch();
            batch.Add(tokens, sequence.Length, sequence.Pages, LogitsWanted.All);
            var logits = new float[tokens.Length * Vocabulary];
            new ForwardPass(Weights, HotPath, Experts) { Routed = Routed }.Run(batch, logits);
            sequence.Advance(tokens.Length);
            Assert.That(_driver.Fault, Is.Null);
            return logits;
        }

        public void Dispose()
        {
            _backend.Dispose();
            _checkpoint.Dispose();
        }
    }

    private sealed class PoisonedExperts(ModelWeights weights, int layer, int row) : IRoutedExperts
    {
        private readonly ReferenceExperts _inner = new(weights);

        public long DriveBytesRead => _inner.DriveBytesRead;

        public void Run(int at, RoutedRows rows, Span<float> sum)
        {
            _inner.Run(at, rows, sum);
            if (at == layer)
            {
                sum[row * weights.Shape.HiddenSize] = float.NaN;
            }
        }

        public void Dispose() => _inner.Dispose();
    }
}
