// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>Calls whose pages are read from a slower place. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerReadingTests
{
    private static readonly byte[] s_page = new byte[new ObservedHotPath().BytesPerPage];

    [Test]
    public void A_call_computes_nothing_while_its_pages_are_read_and_others_go_on()
    {
        var tier = new HeldTier();
        var steps = new SchedulerSteps(pages: 20, prefillChunk: 64, tier: tier);
        FakeCall call = steps.Add(Text(1, 200), 1);
        FakeCall other = steps.Add(Text(2, 60), 1);
        tier.Reads = c => c == call;
        steps.Run();
        steps.Run();
        Assert.That(other.Tokens, Has.Count.EqualTo(1));
        Assert.That(call.Sequence!.Length, Is.Zero);
        Assert.That(call.TakeIn(tier.Readings[0], 0, s_page));
        Assert.That(call.TakeIn(tier.Readings[0], 2, s_page), Is.False, "not in order");
        Assert.That(call.TakeIn(tier.Readings[0], 1, s_page));
        steps.Run();
        Assert.That(call.Sequence.Length, Is.EqualTo(128));
        tier.Readings[0].IsOver = true;
        Assert.That(call.TakeIn(tier.Readings[0], 2, s_page), Is.False, "it computes");
        steps.RunAll();
        Assert.That(call.CachedTokens, Is.EqualTo(128));
        Assert.That(steps.PromptRows, Is.EqualTo(60 + 72));
        Assert.That(steps.Cache.FreePages, Is.EqualTo(20));
    }

    [Test]
    public void Calls_that_begin_alike_wait_for_what_is_read_and_share_it()
    {
        var tier = new HeldTier();
        var steps = new SchedulerSteps(pages: 20, prefillChunk: 64, tier: tier);
        FakeCall call = steps.Add(Text(1, 200), 1);
        tier.Reads = c => c == call;
        FakeCall alike = steps.Add(Text(1, 200), 1);
        steps.Run();
        Assert.That(steps.Scheduler.Running, Is.EqualTo(new[] { call }));
        for (int page = 0; page < 3; page++)
        {
            Assert.That(call.TakeIn(tier.Readings[0], page, s_page));
        }

        tier.Readings[0].IsOver = true;
        steps.RunAll();
        Assert.That(new[] { call.CachedTokens, alike.CachedTokens }, Is.All.EqualTo(192));
        Assert.That(steps.PromptRows, Is.EqualTo(16));
    }

    [Test]
    public void A_call_that_was_cancelled_takes_nothing_any_more()
    {
        var tier = new HeldTier { Reads = _ => true };
        var steps = new SchedulerSteps(pages: 20, prefillChunk: 64, tier: tier);
        using var source = new CancellationTokenSource();
        FakeCall call = steps.Add(Text(1, 200), 1, source.Token);
        steps.Run();
        Assert.That(call.TakeIn(tier.Readings[0], 0, s_page));
        source.Cancel();
        steps.Run();
        Assert.That(call.Error, Is.InstanceOf<OperationCanceledException>());
        Assert.That(call.TakeIn(tier.Readings[0], 1, s_page), Is.False);
        Assert.That(steps.Cache.FreePages, Is.EqualTo(20));
        Assert.That(steps.Cache.ReusablePages, Is.EqualTo(1), "what it took is there for others");
    }

    [Test]
    public void A_call_that_gave_way_is_read_anew_and_takes_nothing_of_before()
    {
        var tier = new HeldTier();
        var steps = new SchedulerSteps(pages: 5, prefillChunk: 64, tier: tier);
        FakeCall answering = steps.Add(Text(2, 60), 80);
        steps.Run();
        FakeCall call = steps.Add(Text(1, 190), 1);
        tier.Reads = c => c == call;
        steps.Run();
        Assert.That(call.IsReading);
        while (!call.IsPaused)
        {
            steps.Run();
        }

        Assert.That(call.TakeIn(tier.Readings[0], 0, s_page), Is.False);
        while (tier.Readings.Count < 2)
        {
            steps.Run();
        }

        Assert.That(answering.Tokens, Has.Count.EqualTo(80));
        Assert.That(call.TakeIn(tier.Readings[0], 0, s_page), Is.False, "of the reading before");
        Assert.That(call.TakeIn(tier.Readings[1], 0, s_page));
        tier.Readings[1].IsOver = true;
        steps.RunAll();
        Assert.That(call.Tokens, Has.Count.EqualTo(1));
    }

    private sealed class HeldTier : IPageTier
    {
        public Func<ScheduledCall, bool> Reads { get; set; } = _ => false;

        public List<HeldReading> Readings { get; } = [];

        public void Attach(GenerationEngine engine, ModelRunner runner)
        {
        }

        public IPageReading? Begin(ScheduledCall call)
        {
            if (!Reads(call))
            {
                return null;
            }

            Readings.Add(new HeldReading());
            return Readings[^1];
        }

        public void Finish(KvCache cache)
        {
        }
    }

    private sealed class HeldReading : IPageReading
    {
        public bool IsOver { get; set; }
    }
}
