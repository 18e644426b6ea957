// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>Who gets pages, and who gives way or waits. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerPageTests
{
    /// <summary>What a session gives up when its call is cancelled is free after the plan that ends the call.</summary>
    [Test]
    public void A_call_that_ends_while_a_step_is_planned_may_leave_pages_that_others_wait_for([Values] bool runs)
    {
        var steps = new SchedulerSteps(pages: 8, prefillChunk: 512);
        KvSequence session = steps.Cache.CreateSequence();
        Assert.That(session.TryExtend(4 * KvPage.Tokens));
        using var source = new CancellationTokenSource();
        KvSequence renewed = steps.Cache.CreateSequence();
        FakeCall leaving = steps.Add(new FakeCall(Text(1, 100), 20, source.Token)
        {
            Told = () => (steps.PagesMayReturn, _) = (true, renewed.TryExtend(2 * KvPage.Tokens)),
        });
        steps.Run();
        FakeCall other = steps.Add(Text(2, runs ? 127 : 310), 200);
        if (runs)
        {
            steps.Run();
            steps.Run();
            Assert.That(other.Tokens, Has.Count.EqualTo(2), "the next token needs a page");
        }

        source.Cancel();
        steps.Run();
        Assert.That(leaving.Error, Is.InstanceOf<OperationCanceledException>());
        Assert.That(other.Error, Is.Null);
        session.Dispose();
        steps.PagesMayReturn = false;
        steps.Run();
        Assert.That((other.Error, other.Tokens.Count > (runs ? 2 : 0)), Is.EqualTo(((Exception?)null, true)));
    }

    [Test]
    public void When_pages_run_out_the_youngest_gives_way_and_finishes_later([Values] bool keepsPrefixes)
    {
        var steps = new SchedulerSteps(pages: 4, prefillChunk: 64, keepsPrefixes: keepsPrefixes);
        FakeCall first = steps.Add(Text(1, 60), 120);
        FakeCall second = steps.Add(Text(2, 60), 120);
        steps.RunAll();
        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((first.Tokens.Count, second.Tokens.Count), Is.EqualTo((120, 120)));
        Assert.That((first.IsPaused, second.IsPaused), Is.EqualTo((false, true)));
        Assert.That((first.CachedTokens, second.CachedTokens), Is.EqualTo((0, 0)), "what it finds of its own is not counted");
        Assert.That(steps.Cache.FreePages, Is.EqualTo(4));
    }

    [Test]
    public void Many_calls_in_few_pages_all_finish()
    {
        var random = new Random(1);
        var steps = new SchedulerSteps(pages: 7, prefillChunk: 50);
        var calls = new List<FakeCall>();
        for (int i = 0; i < 60; i++)
        {
            calls.Add(steps.Add(Text(random.Next(8), random.Next(1, 200)), random.Next(1, 200)));
            steps.Run();
        }

        steps.RunAll();
        Assert.That(calls.Select(c => c.Error), Is.All.Null);
        Assert.That(calls.Select(c => c.Tokens.Count), Is.EqualTo(calls.Select(c => c.MaxTokens)));
        Assert.That(steps.Cache.FreePages, Is.EqualTo(7));
    }

    /// <summary>Three pages are free, of which the answer needs the next one in a few steps.</summary>
    [TestCase(128, true)]
    [TestCase(129, false)]
    public void A_call_enters_only_where_it_leaves_a_page_to_every_answer(int length, bool enters)
    {
        var steps = new SchedulerSteps(pages: 4, prefillChunk: 60);
        FakeCall answering = steps.Add(Text(1, 60), 120);
        steps.Run();
        FakeCall next = steps.Add(Text(2, length), 50);
        steps.Run();
        Assert.That(next.Sequence is not null, Is.EqualTo(enters));
        steps.RunAll();
        Assert.That((answering.Error, next.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((answering.Tokens.Count, next.Tokens.Count), Is.EqualTo((120, 50)));
    }

    /// <summary>It fits the free pages, but not beside the one that the answer needs soon.</summary>
    [Test]
    public void A_call_that_does_not_enter_takes_nothing_from_what_is_kept()
    {
        var steps = new SchedulerSteps(pages: 4, prefillChunk: 200);
        steps.Add(Text(1, 180), 1);
        steps.RunAll();
        steps.Add(Text(2, 60), 120);
        steps.Run();
        int kept = steps.Cache.ReusablePages;
        FakeCall next = steps.Add(Text(3, 190), 1);
        steps.Run();
        Assert.That((kept, steps.Cache.ReusablePages, next.Sequence), Is.EqualTo((3, 3, (KvSequence?)null)));
    }

    [Test]
    public void Pages_that_sessions_hold_end_the_only_call_clearly()
    {
        var steps = new SchedulerSteps(pages: 3, prefillChunk: 64);
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        FakeCall call = steps.Add(Text(1, 100), 100);
        steps.RunAll();
        Assert.That(call.Error, Is.TypeOf<ContextLengthException>().With.Message.Contains("KvCacheBytes"));
        FakeCall tooLong = steps.Add(Text(2, 150), 1);
        steps.RunAll();
        Assert.That(tooLong.Error, Is.TypeOf<ContextLengthException>().With.Message.Contains("150 tokens needs more pages than the 2 of 3"));
    }

    /// <summary>As while a session is saved that has been disposed of: its pages are free a little later.</summary>
    [Test]
    public void Who_finds_no_room_waits_where_pages_may_return([Values] bool theyDo)
    {
        var steps = new SchedulerSteps(pages: 3, prefillChunk: 200) { PagesMayReturn = true };
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        FakeCall growing = steps.Add(Text(1, 100), 80);
        for (int step = 0; step < 200; step++)
        {
            steps.Run();
        }

        Assert.That((growing.Error, growing.Tokens.Count), Is.EqualTo(((Exception?)null, 29)), "of two pages");
        FakeCall large = steps.Add(Text(2, 150), 1);
        steps.Run();
        Assert.That((large.Error, large.Sequence), Is.EqualTo(((Exception?)null, (KvSequence?)null)));
        if (theyDo)
        {
            held.Dispose();
        }

        steps.PagesMayReturn = false;
        steps.RunAll();
        if (theyDo)
        {
            Assert.That((growing.Error, large.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
            Assert.That((growing.Tokens.Count, large.Tokens.Count), Is.EqualTo((80, 1)));
        }
        else
        {
            Assert.That(growing.Error, Is.TypeOf<ContextLengthException>());
            Assert.That(large.Error, Is.TypeOf<ContextLengthException>());
        }
    }

    /// <summary>Who has made the call hears of its end when the next step is planned already, and gives the pages back a little later.</summary>
    [Test]
    public void Who_finds_no_room_waits_a_moment_for_the_pages_of_a_session_whose_call_has_ended([Values] bool runs, [Values] bool disposed)
    {
        var steps = new SchedulerSteps(pages: 8, prefillChunk: 512);
        var session = new SessionState(null!);
        FakeCall first = steps.Add(new FakeCall(Text(1, 300), 20, CancellationToken.None) { Session = session });
        FakeCall? second = null;
        while (first.Tokens.Count < 20)
        {
            // It has the three pages that are left, and needs another one when the first has ended.
            second ??= first.Tokens.Count == 17 || !runs ? steps.Add(Text(2, runs ? 190 : 300), 20) : null;
            steps.Run();
        }

        for (int step = 0; step < 30; step++)
        {
            steps.Run();
        }

        Assert.That((second!.Error, second.Tokens.Count < 20, second.Sequence is not null), Is.EqualTo(((Exception?)null, true, runs)));
        if (disposed)
        {
            steps.Cache.Release(session.HeldIn(steps.Cache)!.Value);
        }

        steps.Time.Advance(TimeSpan.FromMilliseconds(250));
        steps.RunAll();
        Assert.That(second.Error, disposed ? Is.Null : Is.TypeOf<ContextLengthException>());
        Assert.That(second.Tokens.Count == 20, Is.EqualTo(disposed));
    }

    /// <summary>Calls that come and are cancelled before they begin, as those of impatient clients, are no reason to hope.</summary>
    [Test]
    public void Who_finds_no_room_does_not_wait_for_sessions_whose_calls_never_began()
    {
        var steps = new SchedulerSteps(pages: 3, prefillChunk: 512);
        steps.Add(new FakeCall(Text(1, 60), 1, CancellationToken.None) { Session = new SessionState(null!) });
        steps.RunAll();
        FakeCall large = steps.Add(Text(2, 150), 1);
        for (int i = 0; i < 3; i++)
        {
            Assert.That(large.Error, i < 2 ? Is.Null : Is.TypeOf<ContextLengthException>());
            using var source = new CancellationTokenSource();
            steps.Add(new FakeCall(Text(3 + i, 150), 1, source.Token) { Session = new SessionState(null!) });
            steps.Run();
            steps.Time.Advance(TimeSpan.FromMilliseconds(200));
            source.Cancel();
            steps.Run();
        }
    }

    [Test]
    public void Who_waits_for_pages_that_may_return_can_be_cancelled_and_passed()
    {
        var steps = new SchedulerSteps(pages: 3, prefillChunk: 200) { PagesMayReturn = true };
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        using var source = new CancellationTokenSource();
        FakeCall large = steps.Add(Text(1, 150), 1, source.Token);
        steps.Run();
        FakeCall small = steps.Add(Text(2, 50), 2);
        steps.Run();
        steps.Run();
        Assert.That((small.Tokens.Count, large.Error), Is.EqualTo((2, (Exception?)null)));
        source.Cancel();
        steps.Run();
        Assert.That(large.Error, Is.InstanceOf<OperationCanceledException>());
        Assert.That(steps.Scheduler.IsIdle);
    }

    [Test]
    public void A_large_call_without_room_is_passed_by_a_few_and_not_for_ever()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        steps.Add(Text(1, 128), 1000 - 128 - 400);
        FakeCall large = steps.Add(Text(2, 576), 1);
        for (int i = 0; i < 30; i++)
        {
            steps.Add(Text(i + 3, 60), 60);
        }

        steps.Run();
        int passed = steps.Scheduler.Running.Count - 1;
        Assert.That(passed, Is.InRange(1, 8));
        for (int i = 0; i < 200; i++)
        {
            steps.Run();
            passed = Math.Max(passed, large.Passed);
        }

        Assert.That(passed, Is.LessThanOrEqualTo(8));
        steps.RunAll();
        Assert.That((large.Error, large.Tokens.Count), Is.EqualTo(((Exception?)null, 1)));
    }

    /// <summary>How often it was passed before it ran says nothing of how long it has waited since.</summary>
    [Test]
    public void A_call_that_has_run_and_given_way_may_be_passed_again()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        FakeCall first = steps.Add(Text(1, 128), 150);
        FakeCall second = steps.Add(Text(2, 256), 30);
        steps.Run();
        FakeCall large = steps.Add(Text(3, 310), 100);
        for (int i = 0; i < 8; i++)
        {
            steps.Add(Text(10 + i, 4), 1);
        }

        while (large.Tokens.Count == 0)
        {
            steps.Run();
            Assert.That(large.Passed, Is.LessThanOrEqualTo(8));
        }

        while (!large.IsPaused || large.Sequence is not null)
        {
            steps.Run();
        }

        FakeCall small = steps.Add(Text(30, 4), 1);
        steps.Run();
        Assert.That((first.Tokens.Count < 150, second.Tokens.Count, small.Tokens.Count, large.Sequence), Is.EqualTo((true, 30, 1, (KvSequence?)null)));
    }
}
