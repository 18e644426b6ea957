// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole tiny models whose prompts have some routed experts pass through the simulated GPU, beside the others on the CPU.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class StreamedExpertTests
{
    private const string Checkpoint = "tiny-steady";
    private const int MoeLayers = 2;
    private const int Experts = 12;

    private static readonly int[] s_tokens = [.. Enumerable.Range(3, LinearProgram.DefaultManyRows + 4)];

    private float[] _onCpu = [];

    /// <summary>The hot path on the GPU, no expert there.</summary>
    [OneTimeSetUp]
    public void ComputeOnCpu()
    {
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint(Checkpoint));
        using var cpu = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
        model.Experts = cpu.Experts;
        Assert.That(model.HotPath.Prompt, Is.Null);
        _onCpu = model.Logits(s_tokens);
    }

    /// <summary>Both sides compute alike; more experts than the ring has places, beside ones that stay.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void It_hardly_matters_who_has_an_expert([Values(0, 5, Experts)] int streamed, [Values(0.0, 0.4)] double held)
    {
        using var driver = new GpuUnderTest();
        using var gpu = new Streaming(driver, new Forced(streamed), held);
        int heldUsed = 0;
        gpu.Model.Routed = (layer, rows) => heldUsed += HeldOf(gpu.Model, layer, rows);
        float[] logits = gpu.Model.Logits(s_tokens);
        gpu.Model.Routed = null;
        AssertAgrees(gpu.Model, logits);
        int perPass = gpu.Split.Candidates.Sum(c => Math.Min(c.Length, streamed));
        Assert.That(gpu.Model.HotPath.Prompt!.Passed, Is.EqualTo(perPass));
        Assert.That(gpu.Split.Candidates, Has.Count.EqualTo(MoeLayers));
        Assert.That(gpu.Split.Candidates, Has.All.Ordered.Descending.And.All.All.Positive);
        Assert.That(gpu.Split.Noted.Select(n => (n.Streamed, n.Streamed + n.Left)), Is.EqualTo(gpu.Split.Candidates.Select(c => (Math.Min(c.Length, streamed), c.Length))));
        Assert.That(gpu.Split.Noted.Select(n => n.LeftTokens), Is.EqualTo(gpu.Split.Candidates.Select(c => (long)c.Skip(streamed).Sum())));
        Assert.That(gpu.Split.Noted, Has.All.Matches<StreamedLayer>(n => n.GpuSeconds > 0 == n.Streamed > 0));
        Assert.That(heldUsed, held == 0 ? Is.Zero : Is.Positive);
        Assert.That(driver.Launches("expert_gemm_down"), Is.Null.Or.EqualTo(perPass + heldUsed), "each expert once, and none for no token");
        Assert.That(driver.Launches("expert_down"), Is.Null.Or.Zero, "few rows");
        Assert.That(gpu.Model.Logits(s_tokens), Is.EqualTo(logits), "the same split, the same bits");
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Passes_of_few_tokens_stream_nothing()
    {
        using var driver = new GpuUnderTest();
        using var gpu = new Streaming(driver, new Forced(Experts), held: 0);
        gpu.Model.Logits(s_tokens[..LinearProgram.DefaultManyRows], LinearProgram.DefaultManyRows - 1);
        Assert.That(gpu.Model.HotPath.Prompt!.Passed, Is.Zero);
        Assert.That(gpu.Split.Candidates, Is.Empty);
        Assert.That(driver.Launches("expert_gemm"), Is.Null.Or.Zero);
    }

    /// <summary>Calls that wait for answers may hold all threads of .NET's pool.</summary>
    [Test]
    public void Streaming_has_a_thread_of_its_own_that_ends_with_the_model()
    {
        using var driver = new SimulatedDriver();
        var threads = new HashSet<Thread>();
        using (var gpu = new Streaming(driver, new Forced(Experts), held: 0))
        {
            // Those that pass are the only ones here.
            driver.Launched = (kernel, _, _) => threads.UnionWith(kernel.StartsWith("expert_gemm_down", StringComparison.Ordinal) ? [Thread.CurrentThread] : []);
            gpu.Model.Logits(s_tokens);
            gpu.Model.Logits(s_tokens);
            Assert.That(threads.Select(t => (t.IsThreadPoolThread, t.IsBackground, t.Name)), Is.EqualTo(new[] { (false, true, "kimi-gpu-experts") }));
            Assert.That(threads.Single(), Is.Not.SameAs(Thread.CurrentThread));
        }

        Assert.That(threads.Single().IsAlive, Is.False);
    }

    /// <summary>A driver under Windows begins with nothing by itself, so the GPU would wait while the CPU computes its experts.</summary>
    [Test]
    public void Launches_are_sent_off_before_the_CPU_computes([Values(1, 40)] int rows, [Values(0.0, 0.4)] double held)
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint(Checkpoint), placement: new Some(held), expertBytes: null, split: new Forced(0), driverCollects: true);
        using var experts = new ReferenceExperts(model.Weights);
        List<string> last = [];
        model.Experts = new Observed(experts, () => last.Add(driver.Sequence.Last(c => c is "cuStreamQuery" or "cuLaunchKernel" or "cuGraphLaunch" || c.StartsWith("cuMem", StringComparison.Ordinal))));
        model.Logits(s_tokens[..Math.Min(rows, s_tokens.Length)]);
        Assert.That(last, Has.Count.EqualTo(MoeLayers).And.All.EqualTo("cuStreamQuery"));
    }

    /// <summary>The CPU would compute its experts later by as long as that takes.</summary>
    [Test]
    public void Nothing_is_launched_between_the_routers_answer_and_the_CPUs_experts([Values(1, 12)] int rows, [Values(0.0, 0.4)] double held)
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint(Checkpoint), placement: new Some(held), expertBytes: null, split: new Forced(0));
        using var experts = new ReferenceExperts(model.Weights);
        List<string> last = [];
        model.Experts = new Observed(experts, () => last.Add(driver.Sequence.Last(c => c is "cuStreamQuery" or "cuLaunchKernel" or "cuGraphLaunch" || c.StartsWith("cuMem", StringComparison.Ordinal))));
        model.Logits(s_tokens[..rows]);
        Assert.That(last, Has.Count.EqualTo(MoeLayers).And.All.EqualTo("cuStreamQuery"), "the look that found the answer");
    }

    /// <summary>The link would rest while the next expert, or the next weights of the opening, are put together.</summary>
    [Test]
    public void Copies_are_sent_off_before_the_next_bytes_are_gathered()
    {
        const int Streamed = 4;
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint(Checkpoint), placement: new Some(0), expertBytes: null, split: new Forced(Streamed), driverCollects: true);
        using var experts = new ReferenceExperts(model.Weights);
        model.Experts = experts;
        Assert.That(Behind(["cuMemcpyHtoDAsync", "cuEventRecord"]), Is.Not.Empty.And.All.EqualTo("cuStreamQuery"), "weights");
        driver.Sequence.Clear();
        model.Logits(s_tokens);
        Assert.That(Behind(["cuLaunchKernel", "cuEventRecord"]), Has.Length.EqualTo(MoeLayers * Streamed).And.All.EqualTo("cuStreamQuery"), "the copy");
        Assert.That(Behind(["cuLaunchKernel", "cuEventRecord", "cuStreamQuery"]), Has.All.EqualTo("cuStreamQuery"), "and what multiplies by it");

        // What is called next behind each place where these calls follow one another.
        string[] Behind(string[] calls) =>
            [.. Enumerable.Range(0, driver.Sequence.Count - calls.Length).Where(i => driver.Sequence.GetRange(i, calls.Length).SequenceEqual(calls)).Select(i => driver.Sequence[i + calls.Length])];
    }

    /// <summary>Calls of the opening that make things; page-locked memory aside, which can be done without. Refused memory would be planned again.</summary>
    [Test]
    public void A_ring_that_cannot_be_made_leaves_nothing_behind()
    {
        int[] calls;
        using (var sound = new SimulatedDriver())
        using (new Streaming(sound, new Forced(0), held: 0))
        {
            calls = [.. sound.Sequence.Index().Where(c => c.Item is "cuMemAlloc" or "cuStreamCreateWithPriority" or "cuEventCreate").Select(c => c.Index + 1)];
        }

        Assert.That(calls, Has.Length.GreaterThan(18));
        foreach (int call in calls)
        {
            using var driver = new SimulatedDriver { FailingCall = call, Failure = CUResult.ErrorUnknown };
            Assert.That(() => new Streaming(driver, new Forced(0), held: 0), Throws.TypeOf<CudaException>());
            Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)), $"call {call} of {calls[^1]}");
        }
    }

    /// <summary>A cache of many contexts is no reason to lock page tables of that length: no sequence has more pages than the model has positions for.</summary>
    [Test]
    public void Page_locked_memory_does_not_grow_with_the_cache()
    {
        (long Locked, int Pages) Of(long bytes)
        {
            using var driver = new SimulatedDriver { TotalBytes = bytes };
            using var model = new GpuModel(driver, Repository.Checkpoint(Checkpoint));
            return (driver.MostHostBytes, model.Plan.Pages);
        }

        (long Locked, int Pages) large = Of(512 << 20);
        (long Locked, int Pages) small = Of(300 << 20);
        Assert.That(large.Pages, Is.GreaterThan(small.Pages * 3 / 2));
        Assert.That(large.Locked, Is.EqualTo(small.Locked));
    }

    /// <summary>The plan does not know how much main memory may be locked. What the hot path itself needs is nothing to do without.</summary>
    [Test]
    public void Page_locked_memory_that_is_refused_costs_the_ring_then_all_experts_and_the_opening_last()
    {
        long streaming = HostBytes(expertBytes: null, streams: true);
        long held = HostBytes(expertBytes: null, streams: false);
        long none = HostBytes(expertBytes: 0, streams: false);
        Assert.That(new[] { none, held, streaming }, Is.Ordered.Ascending.And.Unique);
        foreach ((long bytes, int warnings) in new[] { (streaming, 0), (streaming - 1, 1), (held, 1), (held - 1, 2), (none, 2) })
        {
            using var driver = new SimulatedDriver { TotalHostBytes = bytes };
            using (GpuModel model = Open(driver, expertBytes: null, streams: true))
            {
                Assert.That(model.Warnings, Has.Count.EqualTo(warnings), $"{bytes} bytes");
                Assert.That((model.Plan.RingSlots > 0, model.Plan.ExpertSlots > 0), Is.EqualTo((warnings == 0, warnings < 2)));
                Assert.That((model.HotPath.Prompt is null, model.HotPath.Experts is null), Is.EqualTo((warnings == 2, warnings == 2)));
                if (warnings > 0)
                {
                    Assert.That(model.Warnings[0], Does.Contain("No routed experts pass through the GPU").And.Contain("cuMemHostAlloc failed with CUDA error 2"));
                    Assert.That(model.Warnings[^1], Does.Contain(warnings == 1 ? "pass through" : "No routed experts are on the GPU"));
                    using var cpu = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
                    model.Experts = cpu.Experts;
                    AssertAgrees(model, model.Logits(s_tokens));
                }
            }

            Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
        }

        using var little = new SimulatedDriver { TotalHostBytes = none - 1 };
        Assert.That(() => Open(little, expertBytes: null, streams: true), Throws.TypeOf<CudaException>().With.Message.Contains("cuMemHostAlloc"));
        Assert.That((little.LiveObjects, little.Fault), Is.EqualTo((0, (string?)null)));

        static long HostBytes(long? expertBytes, bool streams)
        {
            // The most that it takes at once: uploading has buffers of its own.
            using var driver = new SimulatedDriver();
            using GpuModel model = Open(driver, expertBytes, streams);
            Assert.That((model.Warnings, model.Plan.RingSlots > 0, model.Plan.ExpertSlots > 0), Is.EqualTo((Array.Empty<string>(), streams, expertBytes is null)));
            return driver.MostHostBytes;
        }

        static GpuModel Open(SimulatedDriver driver, long? expertBytes, bool streams) =>
            new(driver, Repository.Checkpoint(Checkpoint), placement: new Some(0.4), expertBytes: expertBytes, split: streams ? new Forced(2) : null);
    }

    /// <summary>An error that stays is no refusal.</summary>
    [Test]
    public void A_GPU_that_is_lost_when_memory_is_locked_fails_the_opening()
    {
        using var driver = new SimulatedDriver { FailingFunction = "cuMemHostAlloc", Failure = CUResult.ErrorIllegalAddress };
        Assert.That(() => new Streaming(driver, new Forced(0), held: 0), Throws.TypeOf<GpuLostException>());
        Assert.That(driver.Fault, Is.Null);
    }

    /// <summary>A call that fails in the thread that streams fails the pass, with its own words; a GPU that still answers computes the next one.</summary>
    [Test]
    public void A_call_that_fails_on_the_way_fails_the_pass(
        [Values("cuCtxSetCurrent", "cuStreamWaitEvent", "cuEventRecord", "cuEventQuery")] string function,
        [Values(CUResult.ErrorUnknown, CUResult.ErrorIllegalAddress)] object failure)
    {
        using var driver = new SimulatedDriver();
        using (var gpu = new Streaming(driver, new Forced(Experts), held: 0))
        {
            gpu.Split.Chosen = () => (driver.FailingFunction, driver.Failure) = (function, (CUResult)failure);
            Assert.That(() => gpu.Model.Logits(s_tokens), Throws.InstanceOf<CudaException>().With.Message.Contains($"{function} failed"));
            gpu.Split.Chosen = null;
            bool sound = gpu.Model.HotPath.Settle();
            Assert.That(sound, Is.EqualTo(failure is CUResult.ErrorUnknown));
            if (sound)
            {
                AssertAgrees(gpu.Model, gpu.Model.Logits(s_tokens));
            }
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    /// <summary>An expert that cannot be read ends the pass while others are on their way; whatever comes next waits for them to end.</summary>
    [Test]
    public void A_pass_that_the_CPU_gives_up_leaves_nothing_under_way([Values] bool goesOn)
    {
        using var driver = new SimulatedDriver();
        using (var gpu = new Streaming(driver, new Forced(Experts - 4), held: 0))
        {
            gpu.Model.Experts = new Broken();
            Assert.That(() => gpu.Model.Logits(s_tokens), Throws.TypeOf<IOException>());
            if (goesOn)
            {
                gpu.Model.Experts = gpu.Cpu.Experts;
                AssertAgrees(gpu.Model, gpu.Model.Logits(s_tokens));
            }
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void A_GPU_that_hangs_on_the_way_is_lost()
    {
        using var driver = new SimulatedDriver();
        using (var gpu = new Streaming(driver, new Forced(Experts), held: 0, patience: TimeSpan.FromSeconds(1)))
        {
            gpu.Split.Chosen = () => driver.Hangs = true;
            Assert.That(() => gpu.Model.Logits(s_tokens), Throws.TypeOf<GpuLostException>().With.Message.Contains("within 1 s"));
            Assert.That(gpu.Model.HotPath.Settle(), Is.False);
        }

        Assert.That(driver.LiveObjects, Is.Positive, "the GPU may still write to all of it");
        Assert.That(driver.Fault, Is.Null);
    }

    /// <summary>And the same token is the likeliest at every place.</summary>
    private void AssertAgrees(GpuModel model, float[] logits)
    {
        float[] expected = _onCpu[..logits.Length];
        Agreement agreement = Agreement.Of(expected, logits, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(5e-3));
        Assert.That(Likeliest(logits, model.Vocabulary), Is.EqualTo(Likeliest(expected, model.Vocabulary)));
    }

    /// <summary>Experts of a layer that the rows choose and the GPU holds.</summary>
    private static unsafe int HeldOf(GpuModel model, int layer, RoutedRows rows)
    {
        HashSet<int> chosen = [.. new ReadOnlySpan<int>(rows.Experts, rows.RowCount * model.Weights.Shape.ExpertsPerToken)];
        return model.HotPath.Experts is { } experts ? chosen.Count(e => experts.Held[(layer * Experts) + e]) : 0;
    }

    private static int[] Likeliest(float[] logits, int vocabulary) => [.. logits.Chunk(vocabulary).Select(row => Array.IndexOf(row, row.Max()))];

    private sealed class Streaming : IDisposable
    {
        public Streaming(GpuUnderTest driver, Forced split, double held, TimeSpan? patience = null)
        {
            Split = split;
            Model = new GpuModel(driver, Repository.Checkpoint(Checkpoint), placement: new Some(held), expertBytes: null, split: split, patience: patience);
            Assert.That(Model.Plan.RingSlots, Is.EqualTo(3));
            Cpu = new CpuBackend(Model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
            Model.Experts = Cpu.Experts;
        }

        public GpuModel Model { get; }

        public CpuBackend Cpu { get; }

        public Forced Split { get; }

        public void Dispose()
        {
            Cpu.Dispose();
            Model.Dispose();
        }
    }

    /// <summary>Streams so many experts a layer, and remembers what it was told.</summary>
    internal sealed class Forced(int count) : IStreamSplit
    {
        public List<int[]> Candidates { get; } = [];

        public List<StreamedLayer> Noted { get; } = [];

        public Action? Chosen { get; set; }

        public int Choose(int layer, ReadOnlySpan<int> tokens)
        {
            Candidates.Add(tokens.ToArray());
            Chosen?.Invoke();
            return Math.Min(count, tokens.Length);
        }

        public void Note(in StreamedLayer took) => Noted.Add(took);
    }

    internal sealed class Some(double share) : IExpertPlacement
    {
        public IReadOnlyList<int> First(int count) => [.. Enumerable.Range(Experts, MoeLayers * Experts).Where(key => key * 7 % Experts < share * Experts)];

        public ExpertMove? Next(ReadOnlySpan<bool> held) => null;
    }

    /// <summary>Tells when the CPU is asked for its experts. What it gives counts for nothing where the GPU holds some.</summary>
    private sealed class Observed(ReferenceExperts experts, Action asked) : IRoutedExperts
    {
        public long DriveBytesRead => experts.DriveBytesRead;

        public void Run(int layer, RoutedRows rows, Span<float> sum)
        {
            asked();
            experts.Run(layer, rows, sum);
        }

        public void Dispose()
        {
        }
    }

    private sealed class Broken : IRoutedExperts
    {
        public long DriveBytesRead => 0;

        public void Run(int layer, RoutedRows rows, Span<float> sum) => throw new IOException("an expert cannot be read");

        public void Dispose()
        {
        }
    }
}
