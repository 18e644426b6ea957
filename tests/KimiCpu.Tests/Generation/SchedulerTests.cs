// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Tests.Generation;

/// <summary>The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerTests
{
    [Test]
    public void A_short_prompt_overtakes_a_long_one_which_goes_on()
    {
        var steps = new Steps(pages: 100, prefillChunk: 100);
        Call longer = steps.Add(Text(1, 1000), 1);
        steps.Run();
        Assert.That(longer.Sequence!.Length, Is.EqualTo(100), "alone it has the whole step");
        Call shorter = steps.Add(Text(2, 30), 1);
        steps.Run();
        Assert.That(shorter.Tokens, Has.Count.EqualTo(1));
        Assert.That(longer.Sequence!.Length, Is.EqualTo(170), "its half, and what the other one left");
    }

    [Test]
    public void Short_prompts_without_end_leave_a_long_one_half_of_every_step()
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100);
        Call longer = steps.Add(Text(1, 1000), 1);
        for (int step = 0; step < 20; step++)
        {
            steps.Add(Text(step + 2, 90), 1);
            steps.Run();
        }

        Assert.That(longer.Tokens, Has.Count.EqualTo(1), "1000 tokens at 50 a step");
    }

    /// <summary>A device that computes 70 tokens of a prompt with fewer operations than 69, in steps of 100.</summary>
    [Test]
    public void Where_half_of_a_step_is_inefficient_long_prompts_take_whole_steps_in_turn()
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100, efficientPart: 70);
        Call first = steps.Add(Text(1, 1000), 1);
        Call second = steps.Add(Text(2, 450), 1);
        Call third = steps.Add(Text(3, 900), 1);
        var parts = new List<(int First, int Second, int Third)>();
        for (int step = 0; step < 8; step++)
        {
            parts.Add(steps.Parts(first, second, third));
        }

        Assert.That(parts, Is.EqualTo(Enumerable.Range(0, 8).Select(i => i % 2 == 0 ? (0, 100, 0) : (100, 0, 0))));
        Assert.That(steps.Parts(first, second, third), Is.EqualTo((0, 50, 50)), "what it leaves is the next one's");
        Assert.That(steps.Parts(first, second, third), Is.EqualTo((100, 0, 0)));
        while (first.Tokens.Count == 0)
        {
            (int one, _, int other) = steps.Parts(first, second, third);
            Assert.That((one, other), Is.EqualTo((100, 0)), "it needs fewer than the other one");
        }

        Assert.That(steps.Parts(first, second, third), Is.EqualTo((0, 0, 100)));
    }

    [Test]
    public void Short_prompts_overtake_at_once_where_whole_steps_go_round_too()
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100, efficientPart: 70);
        Call longer = steps.Add(Text(1, 2000), 1);
        Call middle = steps.Add(Text(2, 900), 1);
        for (int step = 0; step < 6; step++)
        {
            Call shorter = steps.Add(Text(step + 3, 30), 1);
            (int one, int other) = steps.Parts(longer, middle);
            Assert.That((one, other), Is.EqualTo((70, 0)).Or.EqualTo((0, 70)));
            Assert.That(shorter.Tokens, Has.Count.EqualTo(1));
        }

        Call large = steps.Add(Text(100, 90), 1);
        steps.Run();
        steps.Run();
        steps.Run();
        Assert.That(large.Tokens, Has.Count.EqualTo(1), "it leaves no efficient part, and waits for its turn");
    }

    [Test]
    public void Short_prompts_without_end_leave_a_long_one_half_of_all_steps([Values(25, 60, 90, 100, 130)] int length)
    {
        var steps = new Steps(pages: 4000, prefillChunk: 100, efficientPart: 70);
        Call longer = steps.Add(Text(1, 2000), 1);
        for (int step = 1; longer.Tokens.Count == 0; step++)
        {
            steps.Add(Text(step + 1, length), 1);
            steps.Run();
            int entered = longer.Sequence?.Length ?? longer.Prompt.Length;
            Assert.That(entered, Is.GreaterThanOrEqualTo((step - 1) * 50), $"after {step} steps, one of them to wait");
        }
    }

    /// <summary>Where halves are efficient, where the whole step is not, and where a device has taken over that does not care.</summary>
    [TestCase(50, false)]
    [TestCase(101, false)]
    [TestCase(70, true)]
    public void Elsewhere_the_call_that_came_first_has_half_of_every_step(int efficientPart, bool moves)
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100, efficientPart: efficientPart);
        if (moves)
        {
            steps.MoveTo(pages: 1000, new IOException("lost"));
        }

        Call first = steps.Add(Text(1, 1000), 1);
        Call second = steps.Add(Text(2, 450), 1);
        Assert.That(Enumerable.Range(0, 4).Select(_ => steps.Parts(first, second)), Is.All.EqualTo((50, 50)));
    }

    [Test]
    public void Answers_move_in_every_step_in_which_prompts_enter()
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100);
        Call answering = steps.Add(Text(1, 10), 100);
        steps.Run();
        steps.Add(Text(2, 2000), 1);
        for (int step = 0; step < 10; step++)
        {
            steps.Run();
            Assert.That(answering.Tokens, Has.Count.EqualTo(step + 2));
        }
    }

    [Test]
    public void The_same_prompt_at_once_is_computed_once()
    {
        var steps = new Steps(pages: 9, prefillChunk: 64);
        Call[] calls = [.. Enumerable.Range(0, 4).Select(_ => steps.Add(Text(1, 200), 1))];
        steps.Run();
        Assert.That(steps.Scheduler.Running, Is.EqualTo(calls[..1]), "the others take no pages meanwhile");
        steps.RunAll();
        Assert.That(calls.Select(c => c.Tokens.Count), Is.All.EqualTo(1));
        Assert.That(calls.Select(c => c.CachedTokens), Is.EqualTo(new[] { 0, 192, 192, 192 }));
        Assert.That(steps.PromptRows, Is.EqualTo(200 + (3 * 8)), "the end of the last page is each one's own");
    }

    [Test]
    public void Who_waits_for_the_pages_of_a_call_that_is_cancelled_goes_on_from_them()
    {
        var steps = new Steps(pages: 20, prefillChunk: 64);
        using var source = new CancellationTokenSource();
        Call first = steps.Add(Text(1, 400), 1, source.Token);
        Call second = steps.Add(Text(1, 400), 1);
        steps.Run();
        steps.Run();
        source.Cancel();
        steps.RunAll();
        Assert.That(first.Error, Is.InstanceOf<OperationCanceledException>());
        Assert.That(second.Tokens, Has.Count.EqualTo(1));
        Assert.That(second.CachedTokens, Is.EqualTo(128));
    }

    [Test]
    public void A_call_that_shares_nothing_does_not_wait_for_one_that_does()
    {
        var steps = new Steps(pages: 100, prefillChunk: 64);
        steps.Add(Text(1, 640), 1);
        Call twin = steps.Add(Text(1, 640), 1);
        Call other = steps.Add(Text(2, 20), 1);
        steps.Run();
        Assert.That(other.Tokens, Has.Count.EqualTo(1));
        Assert.That(twin.Sequence, Is.Null);
    }

    [Test]
    public void When_pages_run_out_the_youngest_gives_way_and_finishes_later([Values] bool keepsPrefixes)
    {
        var steps = new Steps(pages: 4, prefillChunk: 64, keepsPrefixes: keepsPrefixes);
        Call first = steps.Add(Text(1, 60), 120);
        Call second = steps.Add(Text(2, 60), 120);
        steps.RunAll();
        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((first.Tokens.Count, second.Tokens.Count), Is.EqualTo((120, 120)));
        Assert.That((first.IsPaused, second.IsPaused), Is.EqualTo((false, true)));
        Assert.That((first.CachedTokens, second.CachedTokens), Is.EqualTo((0, 0)), "what it finds of its own is not counted");
        Assert.That(steps.Cache.FreePages, Is.EqualTo(4));
    }

    /// <summary>The first one runs, the second one has given way to it, the third one has not begun.</summary>
    [Test]
    public void A_cache_that_is_lost_ends_what_has_begun_and_the_rest_goes_on_in_another()
    {
        var steps = new Steps(pages: 4, prefillChunk: 64);
        Call first = steps.Add(Text(1, 60), 120);
        Call second = steps.Add(Text(2, 60), 120);
        for (int step = 0; !second.IsPaused; step++)
        {
            Assert.That(step, Is.LessThan(1000));
            steps.Run();
        }

        Call third = steps.Add(Text(3, 100), 120);
        steps.Run();
        Assert.That((first.Sequence is null, second.Sequence, third.Sequence), Is.EqualTo((false, (KvSequence?)null, (KvSequence?)null)));
        KvCache lost = steps.Cache;
        var error = new InvalidOperationException("lost");
        steps.MoveTo(pages: 6, error);
        Assert.That((first.Error, second.Error, third.Error), Is.EqualTo((error, error, (Exception?)null)));
        Assert.That((steps.Scheduler.Running.Count, steps.Scheduler.Waiting), Is.EqualTo((0, new[] { third })));
        steps.RunAll();
        Assert.That((third.Error, third.Tokens.Count), Is.EqualTo(((Exception?)null, 120)));
        Assert.That((lost.FreePages, steps.Cache.FreePages), Is.EqualTo((4, 6)));
    }

    /// <summary>How large steps are depends on the device, beside running answers too.</summary>
    [Test]
    public void The_next_device_has_steps_of_its_own([Values(40, 400)] int prefillChunk)
    {
        var steps = new Steps(pages: 1000, prefillChunk: 100);
        steps.Add(Text(1, 300), 1);
        steps.Run();
        Assert.That(steps.PromptRows, Is.EqualTo(100));
        steps.MoveTo(pages: 1000, new IOException("lost"), prefillChunk);
        steps.Add(Text(2, 1000), 1);
        steps.Run();
        Assert.That(steps.PromptRows, Is.EqualTo(100 + prefillChunk));
    }

    [Test]
    public void Many_calls_in_few_pages_all_finish()
    {
        var random = new Random(1);
        var steps = new Steps(pages: 7, prefillChunk: 50);
        var calls = new List<Call>();
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
        var steps = new Steps(pages: 4, prefillChunk: 60);
        Call answering = steps.Add(Text(1, 60), 120);
        steps.Run();
        Call next = steps.Add(Text(2, length), 50);
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
        var steps = new Steps(pages: 4, prefillChunk: 200);
        steps.Add(Text(1, 180), 1);
        steps.RunAll();
        steps.Add(Text(2, 60), 120);
        steps.Run();
        int kept = steps.Cache.ReusablePages;
        Call next = steps.Add(Text(3, 190), 1);
        steps.Run();
        Assert.That((kept, steps.Cache.ReusablePages, next.Sequence), Is.EqualTo((3, 3, (KvSequence?)null)));
    }

    [Test]
    public void Pages_that_sessions_hold_end_the_only_call_clearly()
    {
        var steps = new Steps(pages: 3, prefillChunk: 64);
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        Call call = steps.Add(Text(1, 100), 100);
        steps.RunAll();
        Assert.That(call.Error, Is.TypeOf<ContextLengthException>().With.Message.Contains("KvCacheBytes"));
        Call tooLong = steps.Add(Text(2, 150), 1);
        steps.RunAll();
        Assert.That(tooLong.Error, Is.TypeOf<ContextLengthException>().With.Message.Contains("150 tokens needs more pages than the 2 of 3"));
    }

    /// <summary>As while a session is saved that has been disposed of: its pages are free a little later.</summary>
    [Test]
    public void Who_finds_no_room_waits_where_pages_may_return([Values] bool theyDo)
    {
        var steps = new Steps(pages: 3, prefillChunk: 200) { PagesMayReturn = true };
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        Call growing = steps.Add(Text(1, 100), 80);
        for (int step = 0; step < 200; step++)
        {
            steps.Run();
        }

        Assert.That((growing.Error, growing.Tokens.Count), Is.EqualTo(((Exception?)null, 29)), "of two pages");
        Call large = steps.Add(Text(2, 150), 1);
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

    [Test]
    public void Who_waits_for_pages_that_may_return_can_be_cancelled_and_passed()
    {
        var steps = new Steps(pages: 3, prefillChunk: 200) { PagesMayReturn = true };
        using KvSequence held = steps.Cache.CreateSequence();
        Assert.That(held.TryExtend(64));
        using var source = new CancellationTokenSource();
        Call large = steps.Add(Text(1, 150), 1, source.Token);
        steps.Run();
        Call small = steps.Add(Text(2, 50), 2);
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
        var steps = new Steps(pages: 10, prefillChunk: 1000);
        steps.Add(Text(1, 128), 1000 - 128 - 400);
        Call large = steps.Add(Text(2, 576), 1);
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

    /// <summary>13,108 rows of 163,840 logits are more than an array holds.</summary>
    [TestCase(int.MaxValue, 163_840, 13_107)]
    [TestCase(64, 163_840, 64)]
    [TestCase(0, 163_840, 1)]
    [TestCase(int.MaxValue, 500, 100_000)]
    public void No_more_calls_run_than_a_step_has_room_for(int decodeRows, int vocabulary, int expected) =>
        Assert.That(new SchedulingOptions { MaxRunning = 100_000 }.For(decodeRows, vocabulary, readsDrives: false).MaxRunning, Is.EqualTo(expected));

    [Test]
    public void More_calls_than_may_run_and_wait_are_refused_with_a_time()
    {
        var steps = new Steps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 2, MaxWaiting = 1 });
        Call[] calls = [.. Enumerable.Range(0, 3).Select(i => steps.Add(Text(i, 10), 50))];
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
        Assert.That(() => steps.Scheduler.ThrowIfFull(2), Throws.TypeOf<KimiBusyException>());
        steps.RunAll();
        Assert.That(calls.Select(c => c.Error), Is.All.Null);
    }

    /// <summary>A client that asks again at once would be refused by a place that nobody holds.</summary>
    [TestCase("finished")]
    [TestCase("cancelled while it runs")]
    [TestCase("cancelled while it waits")]
    [TestCase("too large for its first step")]
    [TestCase("too large for its last step")]
    [TestCase("its cache is lost")]
    public void Who_hears_of_a_calls_end_may_call_again_at_once(string end)
    {
        var steps = new Steps(pages: 2, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 });
        using var source = new CancellationTokenSource();
        Call call = steps.Add(Text(1, end == "too large for its first step" ? 200 : 10), end == "too large for its last step" ? 200 : 3, source.Token);
        int told = 0;
        call.Told = () =>
        {
            told++;
            Assert.That(() => steps.Scheduler.ThrowIfFull(0), Throws.Nothing);
        };
        if (end is "cancelled while it waits")
        {
            source.Cancel();
        }

        Assert.That(() => steps.Scheduler.ThrowIfFull(0), Throws.TypeOf<KimiBusyException>());
        steps.Run();
        if (end is "cancelled while it runs")
        {
            source.Cancel();
        }
        else if (end is "its cache is lost")
        {
            steps.MoveTo(2, new IOException("gone"));
        }

        steps.RunAll();
        Assert.That(told, Is.EqualTo(1));
        Assert.That(call.Error, end == "finished" ? Is.Null : Is.Not.Null);
    }

    /// <summary>What goes wrong in the end of a call is nothing that the scheduler knows, but its caller must not wait for ever.</summary>
    [Test]
    public void A_caller_hears_of_an_end_that_fails()
    {
        var steps = new Steps(pages: 10, prefillChunk: 64);
        Call call = steps.Add(Text(1, 10), 3);
        steps.Run();
        Assert.That(() => steps.Scheduler.End(call, _ => throw new IOException("the end")), Throws.TypeOf<IOException>());
        Assert.That(call.Error, Is.TypeOf<IOException>());
        Assert.That(steps.Scheduler.IsIdle);
        Assert.That(steps.Cache.FreePages, Is.EqualTo(10));
    }

    [Test]
    public void Waiting_and_running_too_long_end_calls()
    {
        var steps = new Steps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxQueueTime = TimeSpan.FromSeconds(10), MaxCallTime = TimeSpan.FromSeconds(30) });
        Call running = steps.Add(Text(1, 10), 500);
        Call waiting = steps.Add(Text(2, 10), 500);
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

    [Test]
    public void A_call_that_has_time_neither_waits_nor_runs_too_long()
    {
        var steps = new Steps(pages: 100, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxQueueTime = TimeSpan.FromSeconds(10), MaxCallTime = TimeSpan.FromSeconds(30) });
        Call first = steps.Add(new Call(Text(1, 10), 50, CancellationToken.None) { HasTime = true });
        Call second = steps.Add(new Call(Text(2, 10), 50, CancellationToken.None) { HasTime = true });
        for (int step = 0; step < 100; step++)
        {
            steps.Time.Advance(TimeSpan.FromSeconds(20));
            steps.Run();
        }

        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, (Exception?)null)));
        Assert.That((first.Tokens.Count, second.Tokens.Count), Is.EqualTo((50, 50)));
    }

    /// <summary>A call that has begun takes over what another one, which has ended, had of a page that both begin with; the device fails at that copy.</summary>
    [Test]
    public void What_a_plan_that_failed_had_chosen_is_in_no_later_plan()
    {
        var steps = new Steps(pages: 100, prefillChunk: 16);
        Call first = steps.Add(Text(1, 200), 1);
        Call second = steps.Add(Text(2, 300), 1);
        steps.Run();
        Call third = steps.Add([.. Text(2, 300)[..40], 2000], 1);
        steps.HotPath.BeforeCopy = () => throw new DeviceException("the copy");
        DeviceException? failure = null;
        for (int step = 0; failure is null; step++)
        {
            Assert.That(step, Is.LessThan(50), "nothing was copied");
            try
            {
                steps.Run();
            }
            catch (DeviceException e)
            {
                failure = e;
            }
        }

        Assert.That(third.Tokens, Has.Count.EqualTo(1));
        steps.HotPath.BeforeCopy = null;
        steps.Scheduler.FailPrepared(failure);
        Assert.That((first.Error, second.Error), Is.EqualTo(((Exception?)null, failure)));

        // The next device's first plan must not meet a call of the plan that failed.
        steps.MoveTo(100, new IOException("lost"));
        Assert.That(first.Error, Is.TypeOf<IOException>());
        Call later = steps.Add(Text(3, 30), 1);
        steps.RunAll();
        Assert.That(later.Error, Is.Null);
    }

    private static int[] Text(int seed, int length)
    {
        // Not two of them begin with the same token.
        var random = new Random(seed);
        return [seed, .. Enumerable.Range(1, length - 1).Select(_ => random.Next(1000))];
    }

    /// <summary>A model may have nothing to do for days, and its last prompts, masks and answers are nobody's.</summary>
    [Test]
    public void Calls_that_have_ended_are_held_by_nobody()
    {
        var steps = new Steps(pages: 50, prefillChunk: 16);
        WeakReference[] calls = Ended(steps);
        GC.Collect();
        Assert.That(calls.Select(c => c.IsAlive), Has.None.True);
        GC.KeepAlive(steps);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference[] Ended(Steps steps)
        {
            WeakReference[] calls = [.. Enumerable.Range(1, 3).Select(i => new WeakReference(steps.Add(Text(i, 20 * i), i)))];
            steps.RunAll();
            return calls;
        }
    }

    private sealed class Call(int[] prompt, int maxTokens, CancellationToken cancellationToken) : ScheduledCall(prompt, maxTokens, cancellationToken)
    {
        public List<int> Tokens { get; } = [];

        public Exception? Error { get; private set; }

        protected override IReadOnlyList<int> Answered => Tokens;

        /// <summary>What the caller does when it hears of the end.</summary>
        public Action? Told { get; set; }

        public void Finish(KvCache cache)
        {
            Leave(cache);
            Told?.Invoke();
        }

        protected override void Tell(Exception error)
        {
            Error = error;
            Told?.Invoke();
        }
    }

    /// <summary>Does what the engine does, but for computing.</summary>
    private sealed class Steps
    {
        private readonly int _prefillChunk;

        public Steps(int pages, int prefillChunk, SchedulingOptions? options = null, bool keepsPrefixes = true, int efficientPart = 1)
        {
            _prefillChunk = prefillChunk;
            Cache = new KvCache(HotPath, pages, 100_000, keepsPrefixes);
            Scheduler = new Scheduler(Cache, prefillChunk, options ?? new SchedulingOptions(), Time, efficientPart);
        }

        public ObservedHotPath HotPath { get; } = new();

        public KvCache Cache { get; private set; }

        public Scheduler Scheduler { get; }

        public ManualTime Time { get; } = new();

        /// <summary>What the engine says of those who save sessions.</summary>
        public bool PagesMayReturn { get; set; }

        /// <summary>Rows of prompts so far.</summary>
        public int PromptRows { get; private set; }

        public Call Add(int[] prompt, int maxTokens, CancellationToken cancellationToken = default) => Add(new Call(prompt, maxTokens, cancellationToken));

        public Call Add(Call call)
        {
            Scheduler.Add(call);
            return call;
        }

        public void Run()
        {
            foreach (Call call in Scheduler.Plan(PagesMayReturn).ToArray())
            {
                bool answers = call.StepAnswers;
                PromptRows += call.StepDecodes ? 0 : call.StepRows;
                call.Sequence!.Advance(call.StepTokens);
                if (!answers)
                {
                    continue;
                }

                call.NextToken = 5000 + call.Tokens.Count;
                call.Tokens.Add(call.NextToken);
                if (call.Tokens.Count == call.MaxTokens)
                {
                    Scheduler.End(call, c => c.Finish(Cache));
                }
            }
        }

        /// <summary>Runs a step.</summary>
        /// <returns>Rows that it took in of each call's prompt.</returns>
        public (int First, int Second) Parts(Call first, Call second)
        {
            (int one, int other, _) = Parts(first, second, second);
            return (one, other);
        }

        public (int First, int Second, int Third) Parts(Call first, Call second, Call third)
        {
            int[] before = [.. new[] { first, second, third }.Select(Entered)];
            Run();
            int[] parts = [.. new[] { first, second, third }.Select((c, i) => Entered(c) - before[i])];
            return (parts[0], parts[1], parts[2]);

            static int Entered(Call call) => call.Sequence?.Length ?? (call.Tokens.Count > 0 ? call.Prompt.Length : 0);
        }

        public void MoveTo(int pages, Exception error, int? prefillChunk = null)
        {
            Cache = new KvCache(new ObservedHotPath(), pages, 100_000);
            Scheduler.MoveTo(Cache, prefillChunk ?? _prefillChunk, efficientPart: 1, error);
        }

        public void RunAll()
        {
            for (int step = 0; !Scheduler.IsIdle; step++)
            {
                Assert.That(step, Is.LessThan(100_000), "calls that never end");
                Run();
            }
        }
    }
}
