// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;

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

    /// <summary>The first product behind each MoE layer finds its weights in the second-level cache, of which something is left for what lies between.</summary>
    [TestCase(1, 6 << 20, 2)]
    [TestCase(8, 8192, 2)]
    [TestCase(9, 6 << 20, 0)]
    [TestCase(1, 0, 0)]
    public void What_is_read_next_is_asked_for_while_the_CPU_computes(int rows, int cacheBytes, int times)
    {
        using var driver = new SimulatedDriver { SecondLevelCacheBytes = cacheBytes };
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-steady"));
        List<WarmArguments> asked = [];
        List<ulong> next = [];
        driver.Launched = (kernel, _, arguments) =>
        {
            if (kernel == "warm")
            {
                asked.Add(MemoryMarshal.Read<WarmArguments>(arguments));
            }
            else if (kernel.StartsWith("linear", StringComparison.Ordinal) && next.Count < asked.Count)
            {
                next.Add(MemoryMarshal.Read<LinearArguments>(arguments).First.Data);
            }
        };
        model.Logits([.. Enumerable.Range(3, rows)]);
        Assert.That(asked.Select(a => a.Data), Is.EqualTo(next));
        Assert.That(asked, Has.Count.EqualTo(times));
        Assert.That(asked.Select(a => (long)a.Bytes), cacheBytes == 8192 ? Is.All.EqualTo(cacheBytes / 2) : Is.All.InRange(8192, cacheBytes / 2));
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
        Assert.That(calls.Keys, Is.EquivalentTo(new[] { "cuCtxSetCurrent", "cuThreadExchangeStreamCaptureMode", "cuGraphLaunch", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuEventRecord", "cuEventQuery", "cuStreamQuery" }));
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

    /// <summary>In large steps a copy of it would take as long as some experts.</summary>
    [Test]
    public void The_sum_of_the_routed_experts_is_written_where_the_GPU_reads_it()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"));
        using var experts = new ReferenceExperts(model.Weights);
        List<(ulong Address, int Length)> written = [];
        HashSet<ulong> read = [];
        model.Experts = new Observed(experts, written);
        driver.Launched = (kernel, _, arguments) => read.UnionWith(kernel == "finish_layer" && MemoryMarshal.Read<FinishArguments>(arguments).Routed is not 0 and var routed ? [routed] : []);
        model.Logits([1, 2, 3, 4, 5], 3);
        Assert.That(read, Has.Count.EqualTo(1));
        int layers = model.Weights.Layers.Count(l => l.IsMoe);
        Assert.That(written, Is.EqualTo(Enumerable.Repeat((read.Single(), 3 * model.Weights.Shape.HiddenSize), layers).Concat(Enumerable.Repeat((read.Single(), 2 * model.Weights.Shape.HiddenSize), layers))));
    }

    /// <summary>Of passes of up to eight tokens there are two kinds, however long the cache.</summary>
    [Test]
    public void Launches_are_recorded_anew_once_as_a_cache_grows()
    {
        foreach (int most in new[] { 1, 4, 5, 20, KernelSet.MaxSplits })
        {
            int[] grids = [.. Enumerable.Range(1, 300_000).Select(tokens => KernelSet.GridSplits(tokens, most)).Distinct()];
            Assert.That(grids, Is.EqualTo(most > 4 ? new[] { 4, most } : [most]));
            Assert.That(Enumerable.Range(1, 300_000).Where(tokens => KernelSet.GridSplits(tokens, most) < KernelSet.Splits(tokens, most)), Is.Empty);
        }
    }

    /// <summary>A card's multiprocessors say into how many parts a cache is cut, for every row alike, whatever else is in its step.</summary>
    [Test]
    public void Small_cards_cut_caches_into_fewer_parts([Values(2, 132)] int multiprocessors)
    {
        using var checkpoint = new SyntheticModel(OfTensorCores);
        int[] tokens = [.. Enumerable.Range(1, 130), .. Enumerable.Range(1, 10)];
        using var driver = new SimulatedDriver { TotalBytes = 256 << 20, Multiprocessors = multiprocessors };
        using var model = new GpuModel(driver, checkpoint.Folder);
        List<uint> most = [];
        driver.Launched = (kernel, _, arguments) => most.AddRange(
            kernel.StartsWith("mla_512", StringComparison.Ordinal) ? [MemoryMarshal.Read<AttendArguments>(arguments).MostSplits]
            : kernel.StartsWith("expand_", StringComparison.Ordinal) ? [MemoryMarshal.Read<ExpandArguments>(arguments).MostSplits] : []);
        using KvSequence alone = model.Cache.CreateSequence();
        Prompt(alone);
        float[] logits = [.. tokens[^4..].SelectMany(token => model.Step(alone, [token]))];
        using KvSequence together = model.Cache.CreateSequence();
        Prompt(together);
        Assert.That(model.Step(together, tokens[^4..]), Is.EqualTo(logits), "the same bits in a step of four");

        // Two blocks have the 32 heads of a part.
        Assert.That(most, Is.Not.Empty.And.All.EqualTo(Math.Min(multiprocessors / 2, KernelSet.MaxSplits)));

        // Steps of many rows have no parts.
        Agreement agreement = Agreement.Of(model.Logits(tokens, 70).AsSpan(^logits.Length..), logits, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(5e-3));

        void Prompt(KvSequence sequence) => Array.ForEach([.. tokens[..^4].Chunk(68)], part => model.Step(sequence, part));
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
        ReadOnlySpan<float> expected = MemoryMarshal.Cast<byte, float>(exact);
        ReadOnlySpan<ushort> actual = MemoryMarshal.Cast<byte, ushort>(bytes);
        for (int i = 0; i < actual.Length; i++)
        {
            Assert.That(BFloat16.ToSingle(actual[i]), Is.EqualTo(expected[i]).Within(0.02 * Math.Max(1, Math.Abs(expected[i]))));
        }
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

    /// <summary>Notes where sums go.</summary>
    private sealed unsafe class Observed(ReferenceExperts experts, List<(ulong Address, int Length)> written) : IRoutedExperts
    {
        public long DriveBytesRead => experts.DriveBytesRead;

        public void Run(int layer, RoutedRows rows, Span<float> sum)
        {
            fixed (float* address = sum)
            {
                written.Add(((ulong)address, sum.Length));
            }

            experts.Run(layer, rows, sum);
        }

        public void Dispose()
        {
        }
    }
}
