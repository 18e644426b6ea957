// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Cpu.Memory;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>What the engine says about memory: bytes of calls alone and together, and the bandwidth measured around them.</summary>
[TestFixture]
internal sealed class EngineMemoryTests
{
    /// <summary>tiny-k25 by hand: all BF16 weights, norms and the head, but neither embedding nor routed experts.</summary>
    private const long HotBytes = 2_281_152;
    private const long EmbeddingRow = 512;
    private const long ExpertBytes = 27_648;

    /// <summary>The reference keeps floats: 80 of them a token, in 4 layers.</summary>
    private const long CachedToken = 1_280;

    private ModelUnderTest _model = null!;
    private ReferenceExperts _experts = null!;
    private HeldHotPath _hotPath = null!;
    private ForwardPass _forward = null!;

    [SetUp]
    public void Open()
    {
        _model = new ModelUnderTest(Repository.Checkpoint("tiny-k25"), Backend.Reference);
        _experts = new ReferenceExperts(_model.Weights);
        _hotPath = new HeldHotPath(_model.HotPath);
        _forward = new ForwardPass(_model.Weights, _hotPath, _experts);
    }

    [TearDown]
    public void Close()
    {
        _hotPath.Dispose();
        _experts.Dispose();
        _model.Dispose();
    }

    [Test]
    public void Call_alone_reads_what_each_of_its_tokens_reads()
    {
        using GenerationEngine engine = MakeEngine(new FakeMemory());
        GenerationTimings timings = Run(engine, [1, 2, 3], 5).Timings;

        // Four steps with 4, 5, 6 and 7 tokens in the cache; each takes 4 experts in 3 layers.
        double expected = HotBytes + EmbeddingRow + (4 * 3 * ExpertBytes) + (5.5 * CachedToken);
        Assert.That(timings.DecodeBytesPerToken, Is.EqualTo(expected));
        Assert.That(timings.DecodeBytesPerSecond, Is.EqualTo(4 * expected / timings.Decode.TotalSeconds).Within(0.001).Percent);
        Assert.That(timings.MemoryBandwidthShare, Is.Null);
    }

    [Test]
    public void Single_token_decodes_nothing()
    {
        using GenerationEngine engine = MakeEngine(new FakeMemory { CacheBytes = 1 });
        GenerationTimings timings = Run(engine, [1, 2, 3], 1).Timings;
        Assert.That((timings.DecodeBytesPerToken, timings.DecodeBytesPerSecond, timings.MemoryBandwidthShare), Is.EqualTo((0.0, 0.0, (double?)null)));
    }

    [Test]
    public void Calls_that_share_a_step_bear_equal_parts_of_it()
    {
        // Distinct experts of each step, counted apart from the product's count.
        var experts = new List<int>();
        _forward.Routed = (layer, rows) =>
        {
            experts.AddRange(layer == 1 ? [0] : []);
            experts[^1] += Chosen(rows).Distinct().Count();
        };
        using GenerationEngine engine = MakeEngine(new FakeMemory());
        _hotPath.Hold();
        GenerationJob first = Submit(engine, [1, 2, 3], 3);
        _hotPath.WaitUntilHeld();
        GenerationJob second = Submit(engine, [4, 5, 6, 7], 3);
        _hotPath.Release();
        GenerationTimings a = first.Completion.GetAwaiter().GetResult().Timings;
        GenerationTimings b = second.Completion.GetAwaiter().GetResult().Timings;

        Assert.That(experts, Has.Count.EqualTo(4));
        double decodeBesidePrompt = HotBytes + (5 * EmbeddingRow) + (experts[1] * ExpertBytes) + ((4 + 4) * CachedToken);
        double decodeTogether = HotBytes + (2 * EmbeddingRow) + (experts[2] * ExpertBytes) + ((5 + 5) * CachedToken);
        double decodeAlone = HotBytes + EmbeddingRow + (experts[3] * ExpertBytes) + (6 * CachedToken);
        Assert.That(a.DecodeBytesPerToken, Is.EqualTo(((decodeBesidePrompt / 2) + (decodeTogether / 2)) / 2));
        Assert.That(b.DecodeBytesPerToken, Is.EqualTo(((decodeTogether / 2) + decodeAlone) / 2));

        // The memory has delivered whole steps, whoever shared them.
        Assert.That(a.DecodeBytesPerSecond * a.Decode.TotalSeconds, Is.EqualTo(decodeBesidePrompt + decodeTogether).Within(0.001).Percent);
        Assert.That(b.DecodeBytesPerSecond * b.Decode.TotalSeconds, Is.EqualTo(decodeTogether + decodeAlone).Within(0.001).Percent);
    }

    [Test]
    public void Share_is_known_from_the_idle_time_after_the_first_call_on()
    {
        var memory = new FakeMemory { CacheBytes = 1000, Bandwidth = 1e15 };
        using GenerationEngine engine = MakeEngine(memory);
        Assert.That(Run(engine, [1, 2, 3], 4).Timings.MemoryBandwidthShare, Is.Null);
        Assert.That(() => memory.DisposedCount, Is.EqualTo(1).After(10_000, 5));
        GenerationTimings timings = Run(engine, [1, 2, 3], 4).Timings;
        Assert.That(timings.MemoryBandwidthShare, Is.EqualTo(timings.DecodeBytesPerSecond / 1e15));
        Assert.That(memory.StartedCount, Is.EqualTo(1));
    }

    [Test]
    public void Call_that_comes_during_a_measurement_is_answered_and_the_measurement_goes_on()
    {
        using var inSlice = new SemaphoreSlim(0);
        using var next = new SemaphoreSlim(0);
        var memory = new FakeMemory
        {
            CacheBytes = 1000,
            Slices = 2,
            InSlice = () =>
            {
                inSlice.Release();
                next.Wait();
            },
        };
        using GenerationEngine engine = MakeEngine(memory);
        Run(engine, [1, 2, 3], 2);
        inSlice.Wait();
        GenerationJob call = Submit(engine, [1, 2, 3], 3);
        next.Release();
        Assert.That(call.Completion.GetAwaiter().GetResult().Tokens, Has.Count.EqualTo(3));
        Assert.That(memory.DisposedCount, Is.Zero, "the second slice waits for the call");
        next.Release();
        Assert.That(() => memory.DisposedCount, Is.EqualTo(1).After(10_000, 5));
        Assert.That(memory.SliceCount, Is.EqualTo(2));
    }

    [Test]
    public void Real_measurement_gives_a_share()
    {
        using var pool = new WorkerPool(2);
        using GenerationEngine engine = MakeEngine(new WithoutCaches(new CpuMemory(pool)));
        double? bandwidth = engine.MeasureBandwidth().GetAwaiter().GetResult();
        double? share = Run(engine, [1, 2, 3], 4).Timings.MemoryBandwidthShare;
        Assert.That(bandwidth, RealBandwidth.IsMeasured);
        Assert.That(share.HasValue, Is.EqualTo(bandwidth.HasValue));
        Assert.That(share, Is.Null.Or.GreaterThan(0).And.LessThan(1000));
    }

    [Test]
    public void Disposal_during_a_measurement_ends_it()
    {
        var memory = new FakeMemory { Slices = int.MaxValue };
        GenerationEngine engine = MakeEngine(memory);
        Task<double?> asked = engine.MeasureBandwidth();
        Assert.That(() => memory.SliceCount, Is.GreaterThan(1).After(10_000, 1));
        engine.Dispose();
        Assert.That(async () => await asked, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(memory.DisposedCount, Is.EqualTo(1));
        Assert.That(engine.MeasureBandwidth, Throws.TypeOf<ObjectDisposedException>());
    }

    private static unsafe int[] Chosen(RoutedRows rows) => new ReadOnlySpan<int>(rows.Experts, 4 * rows.RowCount).ToArray();

    private static GenerationJob Submit(GenerationEngine engine, int[] prompt, int tokens)
    {
        var options = new GenerationOptions { Temperature = 0, MaxTokens = tokens };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), KimiCpu.Chat.AnswerLayout.Plain);
        var job = new GenerationJob(prompt, tokens, options, answer, streamed: false, constraint: null, CancellationToken.None);
        engine.Submit(job);
        return job;
    }

    private static GenerationResult Run(GenerationEngine engine, int[] prompt, int tokens) => Submit(engine, prompt, tokens).Completion.GetAwaiter().GetResult();

    private GenerationEngine MakeEngine(IMemoryMeter memory) => Engines.Make(_forward, new KvCache(_hotPath, 1 << 26, 200), 16, memory);

    /// <summary>A memory in which every step matters.</summary>
    private sealed class WithoutCaches(IMemoryMeter memory) : IMemoryMeter
    {
        public long CacheBytes => 0;

        public IBandwidthMeasurement? Start() => memory.Start();
    }

    /// <summary>A hot path that can be held at the beginning of a pass, so that calls meet in the next one.</summary>
    private sealed class HeldHotPath(IHotPath inner) : IHotPath
    {
        private readonly ManualResetEventSlim _free = new(true);
        private readonly ManualResetEventSlim _held = new(false);

        public int MaxRows => inner.MaxRows;

        public int EfficientRows => inner.EfficientRows;

        public long BytesPerPage => inner.BytesPerPage;

        public void Hold() => _free.Reset();

        public void WaitUntilHeld() => _held.Wait();

        public void Release() => _free.Set();

        public long BytesRead(RaggedBatch batch) => inner.BytesRead(batch);

        public void ReservePages(int count) => inner.ReservePages(count);

        public void CopyPage(int source, int target) => inner.CopyPage(source, target);

        public void ReadPage(int page, int tokens, Span<byte> bytes) => inner.ReadPage(page, tokens, bytes);

        public void WritePage(int page, int tokens, ReadOnlySpan<byte> bytes) => inner.WritePage(page, tokens, bytes);

        public void Begin(RaggedBatch batch)
        {
            _held.Set();
            _free.Wait();
            inner.Begin(batch);
        }

        public RoutedRows Attend(int layer) => inner.Attend(layer);

        public void StartShared(int layer) => inner.StartShared(layer);

        public Span<float> RoutedSum => inner.RoutedSum;

        public void Finish(int layer) => inner.Finish(layer);

        public void Logits(ReadOnlySpan<int> rows, Span<float> logits) => inner.Logits(rows, logits);

        public int NonFiniteLayer(int row) => inner.NonFiniteLayer(row);

        public void Dispose()
        {
            _free.Dispose();
            _held.Dispose();
        }
    }
}
