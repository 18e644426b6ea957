// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>How many calls run and wait, and how long. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerLimitTests
{
    /// <summary>13,108 rows of 163,840 logits are more than an array holds.</summary>
    [TestCase(int.MaxValue, 163_840, 13_107)]
    [TestCase(64, 163_840, 64)]
    [TestCase(0, 163_840, 1)]
    [TestCase(int.MaxValue, 500, 100_000)]
    public void No_more_calls_run_than_a_step_has_room_for(int decodeRows, int vocabulary, int expected) =>
        Assert.That(new SchedulingOptions { MaxRunning = 100_000 }.For(decodeRows, vocabulary, readsDrives: false, experts: 384, expertsPerToken: 8).MaxRunning, Is.EqualTo(expected));

    /// <summary>Every step takes 1.4 s, as one of 192 tokens of Kimi K2 does where memory is read with 400 GB/s; of k2-mini half as many choices meet as many experts.</summary>
    [TestCase(null, 384, 8, 192)]
    [TestCase(null, 64, 8, 32)]
    [TestCase(null, 0, 0, 16)]
    [TestCase(0.5, 384, 8, 16)]
    public void Unless_a_gap_is_set_a_sparse_model_takes_in_what_has_met_its_experts(double? gap, int experts, int expertsPerToken, int expected)
    {
        SchedulingOptions options = new SchedulingOptions { MaxTokenGap = gap is { } seconds ? TimeSpan.FromSeconds(seconds) : null }.For(64, 1000, readsDrives: false, experts, expertsPerToken);
        var steps = new SchedulerSteps(pages: 200, prefillChunk: 960, options);
        FakeCall answering = steps.Add(Text(1, 10), 100);
        steps.Run();
        FakeCall entering = steps.Add(Text(2, 9000), 1);
        int part = 0;
        for (int step = 0; step < 10; step++)
        {
            (part, _) = steps.Parts(entering, answering);
            steps.Scheduler.NoteStep(TimeSpan.FromSeconds(1.4));
        }

        Assert.That(part, Is.EqualTo(expected));
    }

    [Test]
    public void More_calls_than_may_run_and_wait_are_refused_with_a_time()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 2, MaxWaiting = 1 });
        FakeCall[] calls = [.. Enumerable.Range(0, 3).Select(i => steps.Add(Text(i, 10), 50))];
        steps.Run();
        Assert.That(steps.Scheduler.Running, Is.EqualTo(calls[..2]));
        Assert.That(steps.Scheduler.Waiting, Is.EqualTo(calls[2..]));
        Assert.That(() => steps.Scheduler.ThrowIfFull(0), Throws.TypeOf<KimiBusyException>().With.Message.Contains("3 calls run or wait")
            .And.Property(nameof(KimiBusyException.RetryAfter)).EqualTo(TimeSpan.FromSeconds(1)));
        steps.Time.Advance(TimeSpan.FromSeconds(40));
        for (int i = 0; i < 49; i++)
        {
            steps.Run();
        }

        Assert.That(() => steps.Scheduler.ThrowIfFull(0), Throws.Nothing);
        Assert.That(() => steps.Scheduler.ThrowIfFull(2), Throws.TypeOf<KimiBusyException>()
            .With.Property(nameof(KimiBusyException.RetryAfter)).EqualTo(TimeSpan.FromSeconds(32)), "two calls have ended, after 40 s and at once");
        steps.RunAll();
        Assert.That(calls.Select(c => c.Error), Is.All.Null);
    }

    [Test]
    public void Waiting_and_running_too_long_end_calls()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxQueueTime = TimeSpan.FromSeconds(10), MaxCallTime = TimeSpan.FromSeconds(30) });
        FakeCall running = steps.Add(Text(1, 10), 500);
        FakeCall waiting = steps.Add(Text(2, 10), 500);
        steps.Time.Advance(TimeSpan.FromSeconds(9));
        steps.Run();
        Assert.That((running.Error, waiting.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        steps.Time.Advance(TimeSpan.FromSeconds(2));
        steps.Run();
        Assert.That(waiting.Error, Is.TypeOf<KimiBusyException>().With.Message.Contains("MaxQueueTime allows 10.0 s"));
        Assert.That(running.Error, Is.Null);
        steps.Time.Advance(TimeSpan.FromSeconds(20));
        steps.Run();
        Assert.That(running.Error, Is.TypeOf<TimeoutException>().With.Message.Contains("MaxCallTime allows 30.0 s"));
        Assert.That(steps.Scheduler.IsIdle);
        Assert.That(steps.Cache.FreePages, Is.EqualTo(100));
    }

    /// <summary>One step may take longer than calls may wait; whoever came meanwhile could not begin before.</summary>
    [Test]
    public void A_call_for_which_there_is_room_begins_however_long_a_step_kept_it_waiting()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 2, MaxQueueTime = TimeSpan.FromSeconds(1) });
        FakeCall running = steps.Add(Text(1, 10), 50);
        steps.Run();
        FakeCall second = steps.Add(Text(2, 10), 50);
        FakeCall third = steps.Add(Text(3, 10), 50);
        steps.Time.Advance(TimeSpan.FromSeconds(5));
        steps.Run();
        Assert.That((running.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That(second.Tokens, Is.Not.Empty);
        Assert.That(third.Error, Is.TypeOf<KimiBusyException>().With.Message.Contains("waited for 5.0 s, 1 wait and 2 run"));
    }

    /// <summary>It would have begun at once with another text.</summary>
    [Test]
    public void A_call_that_waits_for_what_another_one_computes_may_do_so()
    {
        var steps = new SchedulerSteps(pages: 200, prefillChunk: 64, new SchedulingOptions { MaxRunning = 2, MaxQueueTime = TimeSpan.FromSeconds(1) });
        FakeCall first = steps.Add(Text(1, 640), 1);
        steps.Run();
        FakeCall second = steps.Add(Text(1, 640), 1);
        FakeCall? third = null;
        for (int step = 0; step < 20; step++)
        {
            steps.Time.Advance(TimeSpan.FromSeconds(0.5));
            steps.Run();
            third = step == 3 ? steps.Add(Text(2, 64), 50) : third;
        }

        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((first.Tokens.Count, second.Tokens.Count), Is.EqualTo((1, 1)));
        Assert.That(third!.Error, Is.TypeOf<KimiBusyException>(), "the place is the second one's");
    }

    /// <summary>A call of many pages that others may not pass any more holds those behind it up, until it has waited too long itself.</summary>
    [Test]
    public void Calls_behind_one_that_has_waited_too_long_begin_where_there_is_room()
    {
        int large = 8 * KvPage.Tokens;
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 4096, new SchedulingOptions { MaxRunning = 32, MaxQueueTime = TimeSpan.FromSeconds(10) });
        FakeCall running = steps.Add(Text(1, 4 * KvPage.Tokens), 200);
        steps.Run();
        FakeCall blocked = steps.Add(Text(2, large), 1);
        for (int i = 0; i < 8; i++)
        {
            steps.Add(Text(10 + i, 4), 1);
            steps.Run();
        }

        FakeCall second = steps.Add(Text(30, 4), 1);
        steps.Run();
        Assert.That(second.Tokens, Is.Empty, "nobody may pass any more");
        steps.Time.Advance(TimeSpan.FromSeconds(11));
        FakeCall third = steps.Add(Text(31, 4), 1);
        steps.Run();
        Assert.That(blocked.Error, Is.TypeOf<KimiBusyException>());
        Assert.That((running.Error, second.Error, third.Error), Is.EqualTo(((Exception?)null, (Exception?)null, (Exception?)null)));
        Assert.That((second.Tokens.Count, third.Tokens.Count), Is.EqualTo((1, 1)));
    }

    [Test]
    public void A_call_that_has_time_neither_waits_nor_runs_too_long()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxQueueTime = TimeSpan.FromSeconds(10), MaxCallTime = TimeSpan.FromSeconds(30) });
        FakeCall first = steps.Add(new FakeCall(Text(1, 10), 50, CancellationToken.None) { HasTime = true });
        FakeCall second = steps.Add(new FakeCall(Text(2, 10), 50, CancellationToken.None) { HasTime = true });
        for (int step = 0; step < 100; step++)
        {
            steps.Time.Advance(TimeSpan.FromSeconds(20));
            steps.Run();
        }

        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((first.Tokens.Count, second.Tokens.Count), Is.EqualTo((50, 50)));
    }
}
