// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>Rates of steps that take no time here and any time in the machine.</summary>
[TestFixture]
internal sealed class EngineActivityTests
{
    private readonly KvCache _cache = new(new ObservedHotPath(), 1, 100);
    private ManualTime _time = new();
    private EngineActivity _activity = new(TimeProvider.System);

    [SetUp]
    public void Begin()
    {
        _time = new ManualTime();
        _activity = new EngineActivity(_time);
    }

    [Test]
    public void Rates_are_those_of_the_last_five_seconds()
    {
        State(running: 1);
        for (int i = 0; i < 20; i++)
        {
            Step(seconds: 1, answers: 2, prompts: 3, bytes: 4);
        }

        Rates(answers: 2, prompts: 3, bytes: 4);
        Step(seconds: 4, answers: 0, prompts: 0, bytes: 0);
        Rates(answers: 2 * 2 / 6.0, prompts: 2 * 3 / 6.0, bytes: 2 * 4 / 6.0);
    }

    /// <summary>As from drives: the last step tells how fast the model is until the next one has ended.</summary>
    [Test]
    public void Rates_of_steps_longer_than_the_window_are_never_zero_while_calls_run()
    {
        State(running: 1);
        for (int i = 0; i < 3; i++)
        {
            Step(seconds: 80, answers: 4, prompts: 8, bytes: 800);
            State(running: 1);
            Rates(answers: 0.05, prompts: 0.1, bytes: 10);
            _time.Advance(TimeSpan.FromSeconds(20));
            Rates(answers: 0.04, prompts: 0.08, bytes: 8);
        }
    }

    [Test]
    public void Rates_are_zero_when_nothing_runs_and_when_it_begins_again()
    {
        State(running: 1);
        Step(seconds: 80, answers: 4, prompts: 8, bytes: 800);
        State(running: 0);
        _time.Advance(TimeSpan.FromSeconds(6));
        State(running: 1);
        Rates(answers: 0, prompts: 0, bytes: 0);
    }

    /// <summary>Who serves a model larger than memory sees by them whether it is the drive that is waited for.</summary>
    [Test]
    public void Experts_that_were_not_in_memory_are_told()
    {
        State(running: 1);
        Assert.That(_activity.Now(bandwidth: null).ExpertHitRate, Is.Null);
        Step(seconds: 1, answers: 1, prompts: 0, bytes: 4, driveBytes: 10, new ExpertLookups(Hits: 6, Late: 1, Misses: 1));
        Step(seconds: 1, answers: 1, prompts: 0, bytes: 4, driveBytes: 30, new ExpertLookups(Hits: 0, Late: 0, Misses: 8));
        KimiModelActivity now = _activity.Now(bandwidth: null);
        Assert.That((now.DriveBytesPerSecond, now.ExpertHitRate), Is.EqualTo((20, 6 / 16.0)));
        _time.Advance(TimeSpan.FromSeconds(4.5));
        Assert.That(_activity.Now(bandwidth: null).ExpertHitRate, Is.Zero, "the first step is too long ago");
        Step(seconds: 9, answers: 1, prompts: 0, bytes: 4);
        Assert.That(_activity.Now(bandwidth: null).ExpertHitRate, Is.Null, "all are in memory");
    }

    private void State(int running) => _activity.NoteState(running, waiting: 0, _cache);

    private void Step(double seconds, int answers, int prompts, long bytes, long driveBytes = 0, ExpertLookups lookups = default)
    {
        _time.Advance(TimeSpan.FromSeconds(seconds));
        _activity.NoteStep(TimeSpan.FromSeconds(seconds), answers, prompts, bytes, driveBytes, lookups);
    }

    private void Rates(double answers, double prompts, double bytes)
    {
        KimiModelActivity now = _activity.Now(bandwidth: null);
        Assert.That(new[] { now.TokensPerSecond, now.PromptTokensPerSecond, now.BytesPerSecond }, Is.EqualTo(new[] { answers, prompts, bytes }).Within(1e-9));
    }
}
