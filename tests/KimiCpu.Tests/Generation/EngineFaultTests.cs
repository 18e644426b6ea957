// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>The engine over a real model whose hot path is made to fail.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class EngineFaultTests
{
    [Test]
    public void A_NaN_fails_its_call_with_the_layers_number_and_the_engine_goes_on()
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        using GenerationEngine engine = model.Engine();
        faulty.PoisonLayer = 2;
        Assert.That(() => Run(engine), Throws.TypeOf<KimiException>().With.Message.Contains("layer 2 at position 0"), "the first of three tokens, from which the others have it");
        faulty.PoisonLayer = -1;
        faulty.PoisonLogits = true;
        Assert.That(() => Run(engine), Throws.TypeOf<KimiException>().With.Message.Contains("the output head at position 2"));
        faulty.PoisonLogits = false;
        Assert.That(Run(engine).Tokens, Has.Count.EqualTo(3));
        Assert.That(() => engine.FreePages, Is.EqualTo(engine.PageCapacity).After(60_000, 10));
    }

    /// <summary>Experts are chosen all the same, so nothing but the weights can carry it to where it is noticed. A GPU has a copy of the bias, and RouterAndModuleTests of its own.</summary>
    [Test]
    public void A_NaN_of_the_router_fails_its_call([Values(Backend.Reference, Backend.CpuExact, Backend.CpuFast, Backend.CpuInt8)] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend);
        int layer = Array.FindLastIndex(model.Weights.Layers, l => l.IsMoe);
        using var engine = Engines.Make(model.Forward, model.Cache, 16, new FakeMemory());
        float[] bias = model.Weights.Layers[layer].Router!.CorrectionBias;
        (float healthy, bias[1]) = (bias[1], float.NaN);
        Assert.That(() => Run(engine), Throws.TypeOf<KimiException>().With.Message.Contains($"layer {layer}"));
        bias[1] = healthy;
        Assert.That(Run(engine).Tokens, Has.Count.EqualTo(3));
    }

    [Test]
    public void An_exception_in_a_step_fails_its_calls_and_the_engine_goes_on()
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        using GenerationEngine engine = model.Engine();
        faulty.Failure = new IOException("the drive is gone");
        Assert.That(() => Run(engine), Throws.TypeOf<IOException>());
        faulty.Failure = null;
        Assert.That(Run(engine).Tokens, Has.Count.EqualTo(3));
        Assert.That(() => engine.FreePages, Is.EqualTo(engine.PageCapacity).After(60_000, 10));
    }

    /// <summary>Nobody knows what the device is like then, so no call runs on it any more, and who watches the model has to see that.</summary>
    [Test]
    public void A_device_that_fails_where_nothing_can_be_done_about_it_is_the_end_of_all_calls()
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        var cache = new KvCache(faulty, 1 << 26, 200);
        var scheduler = new Scheduler(cache, 16, new SchedulingOptions(), TimeProvider.System);
        using var engine = new GenerationEngine(new ModelRunner(model.Forward, cache, "", 16), scheduler, new FakeMemory(), new NoRecovery());
        Assert.That(engine.Failure, Is.Null);
        faulty.Failure = new DeviceException("The device is gone.");
        Assert.That(() => Run(engine), Throws.TypeOf<KimiException>());
        Assert.That(engine.Failure, Is.EqualTo("The device is gone. What was to be done about it failed too: there is no other"));
        Assert.That(engine.ThrowIfNoMoreCalls, Throws.TypeOf<KimiException>().With.Message.EqualTo(engine.Failure));
    }

    /// <summary>Not even the first page can be made.</summary>
    [TestCase(typeof(IOException))]
    [TestCase(typeof(InsufficientMemoryException))]
    public void Memory_that_runs_out_fails_the_call_and_the_engine_goes_on(Type failure)
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        faulty.ReserveFailure = (Exception)Activator.CreateInstance(failure, "no memory")!;
        using GenerationEngine engine = model.Engine();
        Assert.That(() => Run(engine), Throws.TypeOf(failure));
        faulty.ReserveFailure = null;
        Assert.That(Run(engine).Tokens, Has.Count.EqualTo(3));
    }

    /// <summary>Three pages can be made, of many. Two are known by an earlier text, and a running call has the third.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Memory_that_runs_out_later_takes_pages_of_earlier_texts_and_no_call_away(CancellationToken cancellationToken)
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        faulty.ReserveFailure = new InsufficientMemoryException("no memory");
        faulty.ReservablePages = 3;
        var told = new List<(int Made, int Wanted)>();
        var cache = new KvCache(faulty, 1 << 26, 200, ranOut: (made, wanted) => told.Add((made, wanted)));
        using var engine = Engines.Make(model.Forward, cache, 16, new FakeMemory());
        int wanted = engine.PageCapacity;
        Assert.That(wanted, Is.GreaterThan(3));
        Run(engine, [.. Enumerable.Range(1, 100)]);
        Assert.That(engine.ReusablePages, Is.EqualTo(2));

        // The first pass of the one waits until the other has come, which finds room for its first page alone without an eviction.
        using var other = new ManualResetEventSlim();
        faulty.BeforePass = () => other.Wait(cancellationToken);
        GenerationJob running = Submit(engine, [1, 2, 3], 40);
        GenerationJob late = Submit(engine, [.. Enumerable.Range(200, 100)], 3);
        other.Set();
        Assert.That(late.Completion.WaitAsync(cancellationToken).GetAwaiter().GetResult().Tokens, Has.Count.EqualTo(3));
        Assert.That(running.Completion.WaitAsync(cancellationToken).GetAwaiter().GetResult().Tokens, Has.Count.EqualTo(40));
        Assert.That((engine.PageCapacity, engine.FreePages, engine.MaxJobTokens), Is.EqualTo((3, 3, 3 * KvPage.Tokens)));
        Assert.That(told, Is.EqualTo(new[] { (3, wanted) }), "once");

        // There is never room for this one, which the others do not notice.
        running = Submit(engine, [4, 5, 6], 40);
        Assert.That(() => Run(engine, [.. Enumerable.Range(1, 195)]), Throws.TypeOf<ContextLengthException>());
        Assert.That(running.Completion.WaitAsync(cancellationToken).GetAwaiter().GetResult().Tokens, Has.Count.EqualTo(40));
    }

    /// <summary>The first chunk of 100 tokens is good, the second one fails; the good one stays, and nothing of the other.</summary>
    [TestCase("exception")]
    [TestCase("NaN")]
    [TestCase("NaN of the head")]
    public void A_step_that_fails_leaves_nothing_of_itself_in_the_cache(string fault)
    {
        using var model = new FaultyModel();
        FaultyHotPath faulty = model.HotPath;
        int[] prompt = [.. Enumerable.Range(1, 140)];
        IReadOnlyList<int> expected;
        using (GenerationEngine sound = model.Engine(prefillChunk: 100))
        {
            expected = Run(sound, prompt).Tokens;
        }

        using GenerationEngine engine = model.Engine(prefillChunk: 100);
        int passes = 0;
        faulty.BeforePass = () =>
        {
            bool second = ++passes == 2;
            faulty.Failure = second && fault == "exception" ? new IOException("the drive is gone") : null;
            faulty.PoisonLayer = second && fault == "NaN" ? 2 : -1;
            faulty.PoisonLogits = second && fault == "NaN of the head";
        };
        Assert.That(() => Run(engine, prompt), fault == "exception" ? Throws.TypeOf<IOException>() : Throws.TypeOf<KimiException>());
        Assert.That(engine.FreePages, Is.EqualTo(engine.PageCapacity));
        Assert.That(engine.ReusablePages, Is.EqualTo(1), "the page that the first chunk filled");
        GenerationResult again = Run(engine, prompt);
        Assert.That(again.Tokens, Is.EqualTo(expected));
        Assert.That(again.Usage.CachedTokens, Is.EqualTo(64));
    }

    private static GenerationResult Run(GenerationEngine engine, int[]? prompt = null) => Submit(engine, prompt ?? [1, 2, 3], 3).Completion.GetAwaiter().GetResult();

    private static GenerationJob Submit(GenerationEngine engine, int[] prompt, int maxTokens)
    {
        KimiTokenizer tokenizer = TokenizerCases.Tokenizer;
        var options = new GenerationOptions { Temperature = 0, MaxTokens = maxTokens };
        var answer = new AnswerBuilder(tokenizer, options, new HashSet<int>(), KimiCpu.Chat.AnswerLayout.Plain);
        var job = new GenerationJob(prompt, maxTokens, options, answer, streamed: false, constraint: null, CancellationToken.None);
        engine.Submit(job);
        return job;
    }

    private sealed class NoRecovery : IDeviceRecovery
    {
        public DeviceOutcome Recover(DeviceException failure, bool ofStep) => throw new InvalidOperationException("there is no other");
    }
}
