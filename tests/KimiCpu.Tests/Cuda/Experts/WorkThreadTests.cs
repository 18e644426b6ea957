// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Experts;

namespace KimiCpu.Tests.Cuda.Experts;

[TestFixture]
internal sealed class WorkThreadTests
{
    [Test]
    [CancelAfter(60_000)]
    public void A_thread_whose_work_is_done_in_time_has_ended([Values] bool waitedFor)
    {
        var thread = new WorkThread("test");
        Thread? worker = null;
        thread.Start(() =>
        {
            worker = Thread.CurrentThread;
            Thread.Sleep(50);
        });
        if (waitedFor)
        {
            Assert.That(thread.Wait(), Is.Null);
        }

        thread.End(TimeSpan.FromSeconds(50));
        Assert.That(worker!.IsAlive, Is.False);
    }

    /// <summary>An exception in it would end the process.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_thread_whose_work_takes_longer_is_left_behind_and_ends_by_itself([Values] bool fails)
    {
        using var answered = new ManualResetEventSlim();
        using var begun = new ManualResetEventSlim();
        var thread = new WorkThread("test");
        Thread? worker = null;
        thread.Start(() =>
        {
            worker = Thread.CurrentThread;
            begun.Set();
            answered.Wait();
            _ = fails ? throw new OperationCanceledException() : 0;
        });
        begun.Wait();
        thread.End(TimeSpan.FromMilliseconds(20));
        Assert.That(worker!.IsAlive);
        answered.Set();
        Assert.That(worker.Join(TimeSpan.FromSeconds(30)));
    }
}
