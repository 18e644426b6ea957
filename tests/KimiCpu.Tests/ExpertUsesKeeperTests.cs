// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Generation;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests;

/// <summary>What a process that is killed has left behind about its experts.</summary>
[TestFixture]
internal sealed class ExpertUsesKeeperTests
{
    private string _file = "";

    [SetUp]
    public void Name() => _file = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}.uses");

    [TearDown]
    public void Delete() => File.Delete(_file);

    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_leaves_its_counts_behind_while_it_runs(CancellationToken cancellationToken)
    {
        var time = new OneTimer();
        var options = new KimiModelOptions { ExpertMemory = 70_000, ExpertUsesFile = _file, UsesTime = time, Threads = 1 };
        var answer = new GenerationOptions { MaxTokens = 5, Temperature = 0, IgnoreEndOfText = true };
        byte[] first;
        using (KimiModel model = KimiModel.Open(Repository.NanoModel, options))
        {
            Assert.That((time.Due, time.Period), Is.EqualTo((TimeSpan.FromMinutes(10), TimeSpan.FromMinutes(10))));
            time.Fire();
            await Task.Delay(100, cancellationToken);
            Assert.That(File.Exists(_file), Is.False, "nothing was used");
            model.Generate("Who are you?", answer, cancellationToken);
            first = await Written(time, cancellationToken);
            File.Delete(_file);
            time.Fire();
            await Task.Delay(100, cancellationToken);
            Assert.That(File.Exists(_file), Is.False, "nothing was used since");
            model.Generate("Tell me a story.", answer, cancellationToken);
            Assert.That(await Written(time, cancellationToken), Is.Not.EqualTo(first));
            File.Delete(_file);
        }

        Assert.That(time.IsDisposed);
        Assert.That(File.Exists(_file), "at its end as ever");
        time.Fire();
    }

    [TestCase(null, true)]
    [TestCase(70_000L, false)]
    public void A_model_that_has_nothing_to_leave_behind_has_no_timer(long? expertMemory, bool remember)
    {
        var time = new OneTimer();
        using KimiModel model = KimiModel.Open(Repository.NanoModel, new KimiModelOptions { ExpertMemory = expertMemory, RememberExperts = remember, ExpertUsesFile = _file, UsesTime = time });
        Assert.That(time.Due, Is.Null);
    }

    /// <summary>The drive was slow.</summary>
    [Test]
    public void What_was_taken_before_the_end_does_not_replace_what_was_left_behind_then()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
        ExpertUses uses = Uses(shape);
        IEvictionPolicy policy = uses.Policy(shape.LayerCount, shape.ExpertCount);
        policy.BeginStep();
        policy.Use(3);
        UseCounts taken = uses.TakeChanges()!;
        policy.BeginStep();
        policy.Use(5);
        uses.Save();
        uses.Save(taken);
        UseCounts counts = Uses(shape).Copy();
        Assert.That(ExpertStatistics.Hottest(counts, 8), Is.EquivalentTo(new[] { 3, 5 }));
    }

    private ExpertUses Uses(ModelShape shape) => new(shape, new ExpertStatistics(_file, 1), NullLogger.Instance);

    private async Task<byte[]> Written(OneTimer time, CancellationToken cancellationToken)
    {
        time.Fire();
        while (!File.Exists(_file))
        {
            await Task.Delay(5, cancellationToken);
        }

        return await File.ReadAllBytesAsync(_file, cancellationToken);
    }

    /// <summary>Keeps the timer that is asked for.</summary>
    private sealed class OneTimer : TimeProvider, ITimer
    {
        private Action? _fire;

        public TimeSpan? Due { get; private set; }

        public TimeSpan? Period { get; private set; }

        public bool IsDisposed { get; private set; }

        public void Fire() => _fire!();

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            (_fire, Due, Period) = (() => callback(state), dueTime, period);
            return this;
        }

        public bool Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

        public void Dispose() => IsDisposed = true;

        public ValueTask DisposeAsync() => throw new NotSupportedException();
    }
}
