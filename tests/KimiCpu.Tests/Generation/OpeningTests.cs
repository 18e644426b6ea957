// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using Microsoft.Extensions.Logging;

namespace KimiCpu.Tests.Generation;

/// <summary>What opening a model tells.</summary>
[TestFixture]
internal sealed class OpeningTests
{
    private static readonly KimiModelOptions s_copied = new() { Int8HotPath = true, Threads = 4 };

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

    private static void AddCopy(List<LoadProgress> steps, LoadProgress step)
    {
        if (step.Phase == "copies")
        {
            steps.Add(step);
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
