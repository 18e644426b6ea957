// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Xml.Linq;
using KimiCpu.Cpu;
using KimiCpu.Generation;
using KimiCpu.Tests.Cuda.Simulation;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Generation;

/// <summary>What opening a model tells, and what is left when it fails half-way.</summary>
[TestFixture]
internal sealed class OpeningTests
{
    private static readonly KimiModelOptions s_copied = new() { Int8HotPath = true, Threads = 4 };

    /// <summary>Threads of this process that models have started, by the names that the system knows.</summary>
    private static int ModelThreads => Directory.GetDirectories("/proc/self/task").Count(t => NameOf(t).StartsWith("kimi-", StringComparison.Ordinal));

    [Test]
    public void Copies_report_progress_and_are_logged()
    {
        var steps = new List<LoadProgress>();
        using var log = new FakeLog(_ => { });
        using KimiModel model = KimiModel.OpenEmbedded(s_copied with { LoggerFactory = log, Progress = new FakeProgress(p => AddCopy(steps, p)) });
        Assert.That(steps, Is.EqualTo(Enumerable.Range(1, 7).Select(i => new LoadProgress("copies", i, 7))));
        Assert.That(log.Events, Does.Contain(6));
    }

    [Test]
    public void Without_copies_nothing_is_said_of_them()
    {
        var steps = new List<LoadProgress>();
        using var log = new FakeLog(_ => { });
        using KimiModel model = KimiModel.OpenEmbedded(s_copied with { Exact = true, LoggerFactory = log, Progress = new FakeProgress(p => AddCopy(steps, p)) });
        Assert.That(steps, Is.Empty);
        Assert.That(log.Events, Does.Not.Contain(6));
    }

    /// <summary>Wherever it was to be placed: weights are, before anything else.</summary>
    [Test]
    public void Memory_that_the_system_refuses_is_the_library_s_own_exception()
    {
        InsufficientMemoryException refusal = Assert.Throws<InsufficientMemoryException>(() => new AlignedBuffer<byte>(1L << 54))!;
        Assert.That(refusal.Message, Does.StartWith("The system refuses 18014398.5 GB of memory: there are ").And.Contain("KimiModelOptions.ExpertMemory"));
        var progress = new FakeProgress(p => _ = p.Phase == "weights" ? throw refusal : 0);
        Assert.That(
            () => KimiModel.OpenEmbedded(new KimiModelOptions { Progress = progress }),
            Throws.TypeOf<KimiException>().With.Message.EqualTo(refusal.Message).And.InnerException.SameAs(refusal));
    }

    /// <summary>Layers are read by several threads, of which one may be held up between counting and telling.</summary>
    [Test]
    public void Weights_count_up()
    {
        var counted = new List<int>();
        var progress = new FakeProgress(p =>
        {
            if (p.Phase == "weights")
            {
                Thread.Sleep(p.Done % 2 * 50);
                lock (counted)
                {
                    counted.Add(p.Done);
                }
            }
        });
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Progress = progress });
        Assert.That(counted, Is.EqualTo(Enumerable.Range(1, model.Info.LayerCount)));
    }

    /// <summary>Who shows progress has texts for the phases that are documented.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task Phases_are_those_that_are_documented(CancellationToken cancellationToken)
    {
        var phases = new ConcurrentDictionary<string, bool>();
        var options = new KimiModelOptions { Threads = 2, RememberExperts = false, Progress = new FakeProgress(p => phases[p.Phase] = true) };
        KimiModelOptions tiered = options with { ExpertMemory = 4_000_000 };
        string threads = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"{Guid.NewGuid():N}.json");
        using var driver = new SimulatedDriver();
        try
        {
            foreach (KimiModelOptions o in new[]
            {
                tiered,
                tiered with { Int8HotPath = true, PreloadExperts = true, TuneThreads = true, ThreadsFile = threads },
                options with { Device = KimiDevice.Cuda(), CudaDriver = driver.Table },
            })
            {
                (await KimiModel.OpenAsync(Repository.NanoModel, o, cancellationToken)).Dispose();
            }
        }
        finally
        {
            File.Delete(threads);
        }

        XElement documented = XDocument.Load(Path.Combine(AppContext.BaseDirectory, "KimiCpu.xml")).Descendants("member").Single(m => m.Attribute("name")!.Value == "T:KimiCpu.LoadProgress");
        IEnumerable<string> named = documented.Elements("param").Single(p => p.Attribute("name")!.Value == nameof(LoadProgress.Phase)).Elements("c").Select(c => c.Value);
        Assert.That(phases.Keys, Is.EquivalentTo(named));
    }

    [Test]
    [Platform("Linux")]
    public void Cancelling_the_copies_leaves_no_thread()
    {
        int before = ModelThreads;
        int most = before;
        using var source = new CancellationTokenSource();
        var progress = new FakeProgress(p =>
        {
            if (p is { Phase: "copies", Done: 3 })
            {
                most = ModelThreads;
                source.Cancel();
            }
        });
        Assert.That(
            async () => await KimiModel.OpenAsync(Repository.NanoModel, s_copied with { Progress = progress }, source.Token),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(most, Is.GreaterThan(before), "threads are seen");
        Assert.That(() => ModelThreads, Is.LessThanOrEqualTo(before).After(60_000, 10));
    }

    [Test]
    public void A_logger_that_throws_ends_neither_the_opening_nor_a_call()
    {
        int heard = 0;
        using var log = new FakeLog(_ =>
        {
            heard++;
            throw new IOException("the log is full");
        });
        using KimiModel model = KimiModel.OpenEmbedded(s_copied with { LoggerFactory = log });
        int ofOpening = heard;
        Assert.That(model.Generate(new[] { 1, 2, 3 }, new GenerationOptions { MaxTokens = 3, IgnoreEndOfText = true }).Tokens, Has.Count.EqualTo(3));
        Assert.That(new[] { ofOpening, heard - ofOpening }, Is.All.Positive, "it has thrown each time");
    }

    private static void AddCopy(List<LoadProgress> steps, LoadProgress step)
    {
        if (step.Phase == "copies")
        {
            steps.Add(step);
        }
    }

    private static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText(Path.Combine(task, "comm"));
        }
        catch (IOException)
        {
            // It has just ended.
            return "";
        }
    }

    private sealed class FakeProgress(Action<LoadProgress> report) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => report(value);
    }

    private sealed class FakeLog(Action<int> hear) : ILoggerFactory, ILogger
    {
        public List<int> Events { get; } = [];

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            Events.Add(eventId.Id);
            hear(eventId.Id);
        }

        public void Dispose()
        {
        }
    }
}
