// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using static KimiCpu.Tests.Generation.SchedulerSteps;

namespace KimiCpu.Tests.Generation;

/// <summary>A device that is lost or fails, and the next one. The scheduler's decisions over a real cache; nothing is computed.</summary>
[TestFixture]
internal sealed class SchedulerDeviceTests
{
    /// <summary>The first one runs, the second one has given way to it, the third one has not begun.</summary>
    [Test]
    public void A_cache_that_is_lost_ends_what_has_begun_and_the_rest_goes_on_in_another()
    {
        var steps = new SchedulerSteps(pages: 4, prefillChunk: 64);
        FakeCall first = steps.Add(Text(1, 60), 120);
        FakeCall second = steps.Add(Text(2, 60), 120);
        for (int step = 0; !second.IsPaused; step++)
        {
            Assert.That(step, Is.LessThan(1000));
            steps.Run();
        }

        FakeCall third = steps.Add(Text(3, 100), 120);
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
        var steps = new SchedulerSteps(pages: 1000, prefillChunk: 100);
        steps.Add(Text(1, 300), 1);
        steps.Run();
        Assert.That(steps.PromptRows, Is.EqualTo(100));
        steps.MoveTo(pages: 1000, new IOException("lost"), prefillChunk);
        steps.Add(Text(2, 1000), 1);
        steps.Run();
        Assert.That(steps.PromptRows, Is.EqualTo(100 + prefillChunk));
    }

    /// <summary>A call that has begun takes over what another one, which has ended, had of a page that both begin with; the device fails at that copy.</summary>
    [Test]
    public void What_a_plan_that_failed_had_chosen_is_in_no_later_plan()
    {
        var steps = new SchedulerSteps(pages: 100, prefillChunk: 16);
        FakeCall first = steps.Add(Text(1, 200), 1);
        FakeCall second = steps.Add(Text(2, 300), 1);
        steps.Run();
        FakeCall third = steps.Add([.. Text(2, 300)[..40], 2000], 1);
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
        FakeCall later = steps.Add(Text(3, 30), 1);
        steps.RunAll();
        Assert.That(later.Error, Is.Null);
    }
}
