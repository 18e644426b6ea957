// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>Calls whose prompts begin alike. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerPrefixTests
{
    [Test]
    public void The_same_prompt_at_once_is_computed_once()
    {
        var steps = new SchedulerSteps(pages: 9, prefillChunk: 64);
        FakeCall[] calls = [.. Enumerable.Range(0, 4).Select(_ => steps.Add(Text(1, 200), 1))];
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
        var steps = new SchedulerSteps(pages: 20, prefillChunk: 64);
        using var source = new CancellationTokenSource();
        FakeCall first = steps.Add(Text(1, 400), 1, source.Token);
        FakeCall second = steps.Add(Text(1, 400), 1);
        steps.Run();
        steps.Run();
        source.Cancel();
        steps.RunAll();
        Assert.That(first.Error, Is.InstanceOf<OperationCanceledException>());
        Assert.That(second.Tokens, Has.Count.EqualTo(1));
        Assert.That(second.CachedTokens, Is.EqualTo(128));
    }

    /// <summary>Pages are no more than when it was refused, but it needs fewer.</summary>
    [Test]
    public void A_call_without_room_begins_when_others_have_computed_most_of_it()
    {
        var steps = new SchedulerSteps(pages: 14, prefillChunk: 1000);
        int[] common = Text(2, 512);
        FakeCall first = steps.Add(Text(1, 310), 5);
        steps.Run();
        FakeCall large = steps.Add([.. common, .. Text(3, 100)], 1);
        FakeCall small = steps.Add([.. common, .. Text(4, 40)], 24);
        while (first.Tokens.Count < 5)
        {
            steps.Run();
            Assert.That(large.Tokens, Is.Empty);
        }

        steps.Run();
        Assert.That((small.Tokens.Count < 24, large.Tokens.Count), Is.EqualTo((true, 1)));
    }

    /// <summary>Known pages that another call takes hold of are no longer free, and so much less is what a call with the same beginning needs.</summary>
    [Test]
    public void A_call_without_room_begins_as_soon_as_there_is_some_though_others_have_taken_hold_of_its_beginning()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000);
        int[] common = Text(1, 256);
        steps.Add(common, 1);
        steps.RunAll();
        FakeCall first = steps.Add(Text(2, 188), 4);
        steps.Add(Text(3, 68), 60);
        FakeCall large = steps.Add([.. common, .. Text(4, 150)], 1);
        FakeCall small = steps.Add([.. common, .. Text(5, 30)], 34);
        for (int i = 0; i < 4; i++)
        {
            steps.Run();
        }

        Assert.That((first.Tokens.Count, large.Sequence, small.Tokens.Count), Is.EqualTo((4, (KvSequence?)null, 4)));
        steps.Run();
        Assert.That(large.Tokens, Has.Count.EqualTo(1), "three pages are free, and it needs three");
    }

    /// <summary>It waits for that text then and not for room, so it holds up nobody.</summary>
    [Test]
    public void Who_was_refused_and_now_waits_for_what_another_one_computes_is_passed_freely()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 16);
        int[] common = Text(2, 640);
        steps.Add(Text(1, 3840), 1);
        steps.Run();
        FakeCall large = steps.Add([.. common, .. Text(3, 2240)], 1);
        steps.Run();
        FakeCall first = steps.Add([.. common, .. Text(4, 4)], 1);
        steps.Run();
        Assert.That((large.Sequence, large.Passed, first.Sequence is not null), Is.EqualTo(((KvSequence?)null, 1, true)));
        FakeCall[] small = [.. Enumerable.Range(0, 12).Select(i => steps.Add(Text(10 + i, 4), 1))];
        steps.Run();
        Assert.That(steps.Scheduler.Waiting, Is.EqualTo(new[] { large }));
        Assert.That(large.Passed, Is.EqualTo(1));
        steps.RunAll();
        Assert.That(small.Append(first).Append(large).Select(c => c.Tokens.Count), Is.All.EqualTo(1));
    }

    /// <summary>It would lose them to the call before it, though another text that nobody waits for is there.</summary>
    [Test]
    public void What_a_call_in_the_queue_begins_with_is_not_given_up_for_another_one()
    {
        var steps = new SchedulerSteps(pages: 9, prefillChunk: 1000);
        foreach (int seed in new[] { 1, 2 })
        {
            steps.Add(Text(seed, 192), 1);
            steps.RunAll();
        }

        FakeCall cold = steps.Add(Text(3, 256), 1);
        FakeCall warm = steps.Add([.. Text(1, 192), 7], 1);
        steps.Run();
        Assert.That((cold.Tokens.Count, warm.Tokens.Count), Is.EqualTo((1, 1)));
        Assert.That(warm.CachedTokens, Is.EqualTo(192));
    }

    /// <summary>Others that pass it end meanwhile and leave texts that were used later, and an answer takes one page after another.</summary>
    [Test]
    public void What_a_call_without_room_begins_with_is_kept_however_long_it_waits()
    {
        var steps = new SchedulerSteps(pages: 12, prefillChunk: 1000);
        steps.Add(Text(1, 192), 1);
        steps.RunAll();
        FakeCall running = steps.Add(Text(2, 128), 250);
        steps.Run();
        FakeCall waiting = steps.Add([.. Text(1, 192), .. Text(3, 400)], 1);
        FakeCall[] small = [.. Enumerable.Range(0, 5).Select(i => steps.Add(Text(10 + i, 20), 3))];
        while (running.Tokens.Count < 250)
        {
            Assert.That(waiting.Sequence, Is.Null);
            steps.Run();
        }

        Assert.That(small.Select(c => c.Tokens.Count), Is.All.EqualTo(3));

        steps.RunAll();
        Assert.That((waiting.Error, waiting.CachedTokens), Is.EqualTo(((Exception?)null, 192)));
    }

    /// <summary>Where it is not enough that nobody else's text is kept.</summary>
    [Test]
    public void Of_what_calls_in_the_queue_begin_with_the_last_one_s_is_given_up_first()
    {
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 1000, new SchedulingOptions { MaxRunning = 1 });
        foreach (int seed in new[] { 1, 2, 3 })
        {
            steps.Add(Text(seed, 192), 1);
            steps.RunAll();
        }

        steps.Add(Text(4, 256), 1);
        FakeCall next = steps.Add([.. Text(1, 192), 7], 1);
        FakeCall last = steps.Add([.. Text(2, 192), 7], 1);
        steps.RunAll();
        Assert.That((next.CachedTokens, last.CachedTokens), Is.EqualTo((192, 192)), "there was the third text");

        steps.Add(Text(5, 640 - 128), 1);
        next = steps.Add([.. Text(1, 192), 8], 1);
        last = steps.Add([.. Text(2, 192), 8], 1);
        steps.RunAll();
        Assert.That((next.CachedTokens, last.CachedTokens), Is.EqualTo((128, 0)));
    }

    /// <summary>Its pages are free for others, but those of texts that nobody waits for go first.</summary>
    [Test]
    public void What_a_paused_call_goes_on_from_is_given_up_after_texts_that_end_later()
    {
        var steps = new SchedulerSteps(pages: 8, prefillChunk: 1000);
        FakeCall older = steps.Add(Text(1, 190), 150);
        FakeCall paused = steps.Add(Text(2, 190), 100);
        while (!paused.IsPaused)
        {
            steps.Run();
        }

        int held = paused.Text.Length;
        int rows = steps.PromptRows;
        for (int i = 0; i < 3; i++)
        {
            steps.Add(Text(10 + i, 20), 1);
            steps.Run();
        }

        steps.RunAll();
        Assert.That((older.Tokens.Count, paused.Tokens.Count), Is.EqualTo((150, 100)));
        Assert.That(steps.PromptRows - rows - (3 * 20), Is.LessThanOrEqualTo(held - (2 * KvPage.Tokens)), "what is computed again");
    }

    [Test]
    public void A_call_that_shares_nothing_does_not_wait_for_one_that_does()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 64);
        steps.Add(Text(1, 640), 1);
        FakeCall twin = steps.Add(Text(1, 640), 1);
        FakeCall other = steps.Add(Text(2, 20), 1);
        steps.Run();
        Assert.That(other.Tokens, Has.Count.EqualTo(1));
        Assert.That(twin.Sequence, Is.Null);
    }
}
