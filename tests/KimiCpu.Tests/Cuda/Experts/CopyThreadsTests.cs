// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;

namespace KimiCpu.Tests.Cuda.Experts;

[TestFixture]
internal sealed class CopyThreadsTests
{
    [Test]
    [CancelAfter(60_000)]
    public void Each_piece_is_copied_once_and_by_no_thread_of_the_pool([Values(0, 1, 3)] int count)
    {
        using var threads = new CopyThreads(count);
        var used = new ConcurrentDictionary<Thread, bool>();
        for (int run = 0; run < 2000; run++)
        {
            int[] copied = new int[run % 9];
            threads.Run(copied.Length, piece =>
            {
                used[Thread.CurrentThread] = Thread.CurrentThread.IsThreadPoolThread;
                Interlocked.Increment(ref copied[piece]);
            });
            Assert.That(copied, Is.All.EqualTo(1));
        }

        used.TryRemove(Thread.CurrentThread, out _);
        Assert.That(used, Has.Count.LessThanOrEqualTo(count));
        Assert.That(used.Values, Has.None.True);
    }

    /// <summary>Whoever opens a GPU may then do without it, and no thread is left behind.</summary>
    [Test]
    public void A_thread_that_cannot_be_started_leaves_no_others_behind()
    {
        List<Thread> started = [];
        void Start(Thread thread)
        {
            if (started.Count == 2)
            {
                throw new InsufficientMemoryException("no thread is left.");
            }

            thread.Start();
            started.Add(thread);
        }

        CudaException error = Assert.Throws<CudaException>(() => new CopyThreads(3, Start).Dispose())!;
        Assert.That(error.Message, Does.Contain("kimi-gpu-copy-2").And.Contain("no thread is left.").And.Contain("limit"));
        Assert.That(started.Select(t => t.Join(TimeSpan.FromMinutes(1))), Is.EqualTo(new[] { true, true }));
    }

    /// <summary>Of two pieces each waits for the other.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Pieces_are_copied_at_the_same_time()
    {
        using var threads = new CopyThreads(1);
        using var both = new Barrier(2);
        threads.Run(2, _ => both.SignalAndWait(TestContext.CurrentContext.CancellationToken));
    }
}
