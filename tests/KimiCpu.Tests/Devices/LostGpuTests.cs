// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Driver;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Devices;

/// <summary>What becomes of a model whose GPU fails while it runs: kimi-nano over the simulated driver, next to one on the CPU.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class LostGpuTests
{
    private static readonly int[] s_prompt = [.. Enumerable.Range(0, 9).Select(i => i * 13 % 500)];
    private static readonly GenerationOptions s_options = new() { Temperature = 0, MaxTokens = 2, LogProbabilities = true, IgnoreEndOfText = true };

    private SimulatedDriver _driver = null!;
    private RecordingLog _log = null!;
    private KimiModel _cpu = null!;

    [OneTimeSetUp]
    public void OpenOnCpu() => _cpu = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void CloseOnCpu() => _cpu.Dispose();

    [SetUp]
    public void StartDriver()
    {
        _driver = new SimulatedDriver();
        _log = new RecordingLog();
    }

    [TearDown]
    public void StopDriver()
    {
        string? fault = _driver.Fault;
        _driver.Dispose();
        _log.Dispose();
        Assert.That(fault, Is.Null);
    }

    /// <summary>Each of the driver's functions that a step calls, at the first call of it: of nine rows without recordings, then of one with them.</summary>
    [TestCase("cuCtxSetCurrent")]
    [TestCase("cuEventQuery")]
    [TestCase("cuMemcpyHtoDAsync")]
    [TestCase("cuEventRecord")]
    [TestCase("cuLaunchKernel")]
    [TestCase("cuStreamQuery")]
    [TestCase("cuMemcpyDtoHAsync")]
    [TestCase("cuGraphLaunch")]
    public void A_GPU_that_is_lost_during_a_call_fails_it_and_the_next_runs_on_the_CPU(string function)
    {
        using (KimiModel model = Open(KimiDevice.Auto))
        {
            Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
            Lose(function);
            KimiException error = Assert.Throws<KimiException>(() => model.Generate(s_prompt, s_options))!;
            Assert.That(error.Message, Does.Match($"^GPU 0 \\(Simulated GPU\\) was lost: {function} failed with CUDA error 719.*The model runs on the CPU from here on: make the call again\\.$"));
            Assert.That(_driver.LiveObjects, Is.Zero, "all of the GPU is given back at once");
            int calls = _driver.Calls;
            AssertSame(model.Generate(s_prompt, s_options), _cpu.Generate(s_prompt, s_options));
            Assert.That(_driver.Calls, Is.EqualTo(calls), "nobody asks the GPU any more");
            Assert.That((model.Activity.Device, model.Activity.Failure), Is.EqualTo((KimiDevice.Cpu, (string?)null)));
            Assert.That(model.Placement, Does.StartWith("CPU: ").And.EndWith("GPU 0 (Simulated GPU) was lost."));
            Assert.That(model.Info, Is.EqualTo(_cpu.Info));
            Assert.That(_log.Entries.Where(e => e.Level >= LogLevel.Warning).Select(e => (e.Level, e.Id)), Is.EqualTo(new[] { (LogLevel.Warning, 10) }));
        }

        Assert.That(_driver.LiveObjects, Is.Zero);
    }

    [Test]
    public void A_GPU_that_does_not_answer_is_lost_too_and_hinders_nobody()
    {
        using (KimiModel model = Open(KimiDevice.Auto, o => o with { GpuPatience = TimeSpan.FromSeconds(2) }))
        {
            _driver.Hangs = true;
            Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Contains("within 2 s"));
            AssertSame(model.Generate(s_prompt, s_options), _cpu.Generate(s_prompt, s_options));
        }

        Assert.That(_driver.LiveObjects, Is.Positive, "it may still write there");
    }

    [Test]
    public void Where_nothing_but_the_GPU_is_allowed_every_later_call_fails_at_once()
    {
        string saved = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        using (KimiModel model = Open(KimiDevice.Cuda()))
        using (KimiSession session = model.CreateSession())
        {
            session.Generate(s_prompt, s_options);
            Lose("cuGraphLaunch");
            const string Reason = "GPU 0 \\(Simulated GPU\\) was lost: cuGraphLaunch failed with CUDA error 719.*asks for cuda:0 alone, so every call fails from here on: open the model again";
            Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Matches(Reason));
            int calls = _driver.Calls;
            Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Matches(Reason));
            Assert.That(() => session.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Matches(Reason));
            Assert.That(() => model.GenerateAsync(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Matches(Reason), "before the prompt is read");
            session.Save(saved);
            Assert.That(File.Exists(saved));
            File.Delete(saved);
            Assert.That(_driver.Calls, Is.EqualTo(calls));
            Assert.That(model.Activity.Failure, Does.Match(Reason));
            Assert.That(_log.Entries.Select(e => e.Id), Does.Contain(11));
        }

        Assert.That(_driver.LiveObjects, Is.Zero);
    }

    /// <summary>Memory may be free again a moment later.</summary>
    [Test]
    public void An_error_that_passes_fails_one_call([Values] bool auto)
    {
        using KimiModel model = Open(auto ? KimiDevice.Auto : KimiDevice.Cuda());
        GenerationResult expected = model.Generate(s_prompt, s_options);
        for (int i = 0; i < 2; i++)
        {
            (_driver.FailingFunction, _driver.Failure) = ("cuMemcpyHtoDAsync", CUResult.ErrorOutOfMemory);
            Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Matches("GPU 0 \\(Simulated GPU\\) failed: cuMemcpyHtoDAsync.*next call runs on it again"));
            AssertSame(model.Generate(s_prompt, s_options), expected);
        }

        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        Assert.That(_log.Entries.Count(e => e.Id == 12), Is.EqualTo(2));
    }

    [Test]
    public void Two_failures_in_a_row_are_enough_where_the_CPU_may_take_over([Values] bool auto)
    {
        using KimiModel model = Open(auto ? KimiDevice.Auto : KimiDevice.Cuda());
        GenerationResult onGpu = model.Generate(s_prompt, s_options);
        for (int i = 0; i < 2; i++)
        {
            (_driver.FailingFunction, _driver.Failure) = ("cuMemcpyHtoDAsync", CUResult.ErrorOutOfMemory);
            Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>().With.Message.Contains(auto && i == 1 ? "failed twice in a row" : "next call runs on it again"));
        }

        AssertSame(model.Generate(s_prompt, s_options), auto ? _cpu.Generate(s_prompt, s_options) : onGpu);
    }

    [Test]
    public async Task All_calls_that_have_begun_fail_and_those_that_wait_run_on_the_CPU()
    {
        using KimiModel model = Open(KimiDevice.Auto, o => o with { Scheduling = new SchedulingOptions { MaxRunning = 3 } });
        GenerationOptions longer = s_options with { MaxTokens = 2000 };
        var begun = new CountdownEvent(3);
        Task[] running = [.. Enumerable.Range(0, 3).Select(i => Task.Run(async () =>
        {
            bool first = true;
            await foreach (GenerationUpdate update in model.GenerateAsync(new[] { 7 * i, 1, 2 }, longer))
            {
                if (first)
                {
                    begun.Signal();
                    first = false;
                }
            }
        }))];
        Assert.That(begun.Wait(TimeSpan.FromMinutes(5)));
        Task<GenerationResult> waiting = Task.Run(() => model.Generate(s_prompt, s_options));
        Assert.That(() => model.Activity.WaitingCalls, Is.EqualTo(1).After(60_000, 5));
        Lose("cuGraphLaunch");
        foreach (Task call in running)
        {
            Assert.That(async () => await call, Throws.TypeOf<KimiException>().With.Message.Contains("cuGraphLaunch").And.Message.Contains("make the call again"));
        }

        AssertSame(await waiting, _cpu.Generate(s_prompt, s_options));
        Assert.That(() => (model.Activity.RunningCalls, model.Activity.WaitingCalls), Is.EqualTo((0, 0)).After(60_000, 5));
        Assert.That(model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity));
    }

    [Test]
    public void Eight_bit_copies_are_made_when_the_CPU_takes_over_as_they_would_have_been()
    {
        var options = new KimiModelOptions { Int8HotPath = true };
        using KimiModel cpu = KimiModel.OpenEmbedded(options);
        using KimiModel model = Open(KimiDevice.Auto, o => o with { Int8HotPath = true });
        Assert.That(model.Placement, Does.Contain("all weights in 8 bits").And.Not.Contain("copied to 8 bits"));
        Lose("cuGraphLaunch");
        Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>());
        AssertSame(model.Generate(s_prompt, s_options), cpu.Generate(s_prompt, s_options));
        Assert.That(model.Placement, Does.Contain("copied to 8 bits"));
    }

    [Test]
    public void Experts_that_come_from_a_drive_stay_where_they_are()
    {
        string nano = Path.Combine(Repository.Root, "models", "kimi-nano");
        using KimiModel model = KimiModel.Open(nano, new KimiModelOptions { Device = KimiDevice.Auto, CudaDriver = _driver.Table, ExpertMemory = 1_000_000, RememberExperts = false, PrefillChunk = 256 });
        Lose("cuGraphLaunch");
        Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>());
        AssertSame(model.Generate(s_prompt, s_options), _cpu.Generate(s_prompt, s_options));
        Assert.That(model.Placement, Does.Contain("experts in").And.Contain("read from the drive"));
    }

    /// <summary>Of so many tokens in one step the CPU expands keys and values. The GPU has room for smaller steps only.</summary>
    [Test]
    [CancelAfter(300_000)]
    public void A_long_prompt_has_the_bits_of_a_CPU_whatever_steps_the_GPU_had()
    {
        string nano = Path.Combine(Repository.Root, "models", "kimi-nano");
        var options = new KimiModelOptions { ExpertMemory = 1_000_000, RememberExperts = false, ContextLength = 1024 };
        int[] prompt = [.. Enumerable.Range(0, 600).Select(i => i * 13 % 500)];
        using KimiModel cpu = KimiModel.Open(nano, options);
        using KimiModel smallSteps = KimiModel.Open(nano, options with { PrefillChunk = 256 });
        GenerationResult expected = cpu.Generate(prompt, s_options);
        Assert.That(LogProbabilities(smallSteps.Generate(prompt, s_options)), Is.Not.EqualTo(LogProbabilities(expected)), "else this shows nothing");
        _driver.Dispose();
        _driver = new SimulatedDriver { TotalBytes = (CudaStream.DriverCollects ? 36 : 16) << 20 };
        using KimiModel model = KimiModel.Open(nano, options with { Device = KimiDevice.Auto, CudaDriver = _driver.Table });
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        Lose("cuGraphLaunch");
        Assert.That(() => model.Generate(s_prompt, s_options), Throws.TypeOf<KimiException>());
        AssertSame(model.Generate(prompt, s_options), expected);
    }

    /// <summary>The steps that find the best number of threads are the first ones.</summary>
    [Test]
    public void A_GPU_that_fails_while_the_model_is_opened_is_done_without_or_said_to_fail([Values] bool auto)
    {
        string file = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"{Guid.NewGuid():N}.json");
        Lose("cuGraphLaunch");
        try
        {
            KimiModel OpenTuned() => Open(auto ? KimiDevice.Auto : KimiDevice.Cuda(), o => o with { TuneThreads = true, Threads = 2, ThreadsFile = file });
            if (auto)
            {
                using KimiModel model = OpenTuned();
                Assert.That(model.Placement, Does.StartWith("CPU: ").And.Contain("the fastest of"));
                AssertSame(model.Generate(s_prompt, s_options), _cpu.Generate(s_prompt, s_options));
            }
            else
            {
                Assert.That(OpenTuned, Throws.TypeOf<KimiException>().With.Message.Contains("cuGraphLaunch"));
            }
        }
        finally
        {
            File.Delete(file);
        }

        Assert.That(_driver.LiveObjects, Is.Zero);
    }

    /// <summary>What can be done without is given up where memory is refused, and the log says so.</summary>
    [Test]
    public void Page_locked_memory_that_is_refused_once_costs_streaming_and_is_logged()
    {
        Lose("cuMemHostAlloc", CUResult.ErrorOutOfMemory);
        using KimiModel model = Open(KimiDevice.Cuda(0));
        Assert.That(model.Activity.Device, Is.EqualTo(KimiDevice.Cuda(0)));
        Assert.That(model.Placement, Does.Contain("routed experts (").And.Not.Contain("ring for"));
        Assert.That(_log.Entries, Has.Some.Matches<(LogLevel Level, int Id, string Text)>(e => e.Level == LogLevel.Warning && e.Text.Contains("pass through the GPU", StringComparison.Ordinal)));
        Assert.That(model.Generate(new[] { 1, 2, 3 }.AsMemory(), new GenerationOptions { MaxTokens = 1 }).Tokens, Has.Count.EqualTo(1));
    }

    private static void AssertSame(GenerationResult found, GenerationResult expected)
    {
        Assert.That(found.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(LogProbabilities(found), Is.EqualTo(LogProbabilities(expected)), "to the bit");
    }

    private static float[] LogProbabilities(GenerationResult result) => [.. result.LogProbabilities.Select(l => l.LogProbability)];

    private KimiModel Open(KimiDevice device, Func<KimiModelOptions, KimiModelOptions>? change = null)
    {
        var options = new KimiModelOptions { Device = device, CudaDriver = _driver.Table, LoggerFactory = _log, RememberExperts = false };
        return KimiModel.OpenEmbedded(change?.Invoke(options) ?? options);
    }

    private void Lose(string function, CUResult failure = CUResult.ErrorLaunchFailed) => (_driver.Failure, _driver.FailingFunction) = (failure, function);

    private sealed class RecordingLog : ILoggerFactory, ILogger
    {
        public System.Collections.Concurrent.ConcurrentQueue<(LogLevel Level, int Id, string Text)> Entries { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Entries.Enqueue((logLevel, eventId.Id, formatter(state, exception)));

        public void Dispose()
        {
        }
    }
}
