// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>The end of a call. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerEndTests
{
    /// <summary>A client that asks again at once would be refused by a place that nobody holds.</summary>
    [TestCase("finished")]
    [TestCase("cancelled while it runs")]
    [TestCase("cancelled while it waits")]
    [TestCase("too large for its first step")]
    [TestCase("too large for its last step")]
    [TestCase("its cache is lost")]
    public void Who_hears_of_a_calls_end_may_call_again_at_once(string end)
    {
        var steps = new SchedulerSteps(pages: 2, prefillChunk: 64, new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 });
        using var source = new CancellationTokenSource();
        FakeCall call = steps.Add(Text(1, end == "too large for its first step" ? 200 : 10), end == "too large for its last step" ? 200 : 3, source.Token);
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
        var steps = new SchedulerSteps(pages: 10, prefillChunk: 64);
        FakeCall call = steps.Add(Text(1, 10), 3);
        steps.Run();
        Assert.That(() => steps.Scheduler.End(call, _ => throw new IOException("the end")), Throws.TypeOf<IOException>());
        Assert.That(call.Error, Is.TypeOf<IOException>());
        Assert.That(steps.Scheduler.IsIdle);
        Assert.That(steps.Cache.FreePages, Is.EqualTo(10));
    }

    /// <summary>A model may have nothing to do for days, and its last prompts, masks and answers are nobody's.</summary>
    [Test]
    public void Calls_that_have_ended_are_held_by_nobody()
    {
        var steps = new SchedulerSteps(pages: 50, prefillChunk: 16);
        WeakReference[] calls = Ended(steps);
        GC.Collect();
        Assert.That(calls.Select(c => c.IsAlive), Has.None.True);
        GC.KeepAlive(steps);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference[] Ended(SchedulerSteps steps)
        {
            WeakReference[] calls = [.. Enumerable.Range(1, 3).Select(i => new WeakReference(steps.Add(Text(i, 20 * i), i)))];
            steps.RunAll();
            return calls;
        }
    }
}
