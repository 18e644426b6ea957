// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
internal sealed class WorkerPoolTests
{
    [Test]
    public void Every_item_is_executed_once([Values(1, 2, 3, 8)] int threads)
    {
        using var pool = new WorkerPool(threads);
        for (int items = 0; items < 300; items++)
        {
            var counts = new int[items];
            pool.Run(items, new PoolAction((begin, end, worker) =>
            {
                Assert.That(worker, Is.InRange(0, threads - 1));
                for (int i = begin; i < end; i++)
                {
                    Interlocked.Increment(ref counts[i]);
                }
            }));
            Assert.That(counts, Is.All.EqualTo(1), $"{items} items");
        }
    }

    [Test]
    public void Many_short_runs_in_a_row_lose_nothing([Values(2, 5)] int threads)
    {
        using var pool = new WorkerPool(threads);
        long sum = 0;
        var work = new PoolAction((begin, end, _) => Interlocked.Add(ref sum, end - begin));
        for (int run = 0; run < 50_000; run++)
        {
            pool.Run(1 + (run % 37), work);
            if (run % 5000 == 0)
            {
                // Long enough for the workers to fall asleep.
                Thread.Sleep(5);
            }
        }

        Assert.That(sum, Is.EqualTo(Enumerable.Range(0, 50_000).Sum(r => 1L + (r % 37))));
    }

    [Test]
    public void After_a_million_runs_their_numbers_begin_anew()
    {
        // A worker that helps nobody and that nobody helps: it would be waited for if it missed a run.
        var machine = new CpuTopology([new LogicalProcessor(0, 0, 0), new LogicalProcessor(1, 1, 1)]);
        using var pool = new WorkerPool(2, machine, tie: false) { HelpsOtherNodes = false };
        long sum = 0;
        var work = new PoolAction((begin, end, _) => Interlocked.Add(ref sum, end - begin));
        const int Runs = (1 << 20) + 10;
        for (int run = 0; run < Runs; run++)
        {
            pool.Run(2, work);
        }

        Assert.That(sum, Is.EqualTo(2L * Runs));
    }

    [Test]
    public void Workers_sleep_when_their_time_of_spinning_is_over_and_not_before()
    {
        using var pool = new WorkerPool(3) { SpinTime = TimeSpan.FromHours(1) };
        var work = new PoolAction((_, _, _) => Thread.SpinWait(100));
        pool.Run(300, work);
        RunUntil(() => pool.Sleeping == 0);
        Thread.Sleep(100);
        Assert.That(pool.Sleeping, Is.Zero);

        pool.SpinTime = TimeSpan.Zero;
        RunUntil(() => pool.Sleeping == 2);
        Thread.Sleep(100);
        Assert.That(pool.Sleeping, Is.EqualTo(2));

        void RunUntil(Func<bool> reached)
        {
            for (int i = 0; !reached(); i++)
            {
                Assert.That(i, Is.LessThan(2000));
                pool.Run(300, work);
                Thread.Sleep(10);
            }
        }
    }

    [Test]
    public void More_items_than_a_word_has_room_for_are_refused()
    {
        using var pool = new WorkerPool(2);
        long sum = 0;
        var work = new PoolAction((begin, end, _) => Interlocked.Add(ref sum, end - begin));
        Assert.That(() => pool.Run(ItemRange.MostItems + 1, work), Throws.TypeOf<ArgumentOutOfRangeException>());
        pool.Run(ItemRange.MostItems, work);
        Assert.That(sum, Is.EqualTo(ItemRange.MostItems));
    }

    [Test]
    public void An_exception_reaches_the_caller_and_the_pool_goes_on([Values(1, 2, 4)] int threads)
    {
        using var pool = new WorkerPool(threads);
        for (int round = 0; round < 100; round++)
        {
            Assert.That(
                () => pool.Run(20, new PoolAction((begin, end, _) => throw new InvalidDataException("item"))),
                Throws.TypeOf<InvalidDataException>());
            int done = 0;
            pool.Run(20, new PoolAction((begin, end, _) => Interlocked.Add(ref done, end - begin)));
            Assert.That(done, Is.EqualTo(20));
        }
    }

    /// <summary>Two workers, of which neither takes the other's items: each fails once and then does no more.</summary>
    [Test]
    public void Items_behind_a_failure_are_left_out()
    {
        var machine = new CpuTopology([new LogicalProcessor(0, 0, 0), new LogicalProcessor(1, 1, 1)]);
        using var pool = new WorkerPool(2, machine, tie: false) { HelpsOtherNodes = false };
        for (int round = 0; round < 20; round++)
        {
            int executed = 0;
            var work = new PoolAction((_, _, _) =>
            {
                Interlocked.Increment(ref executed);
                throw new InvalidDataException("item");
            });
            Assert.That(() => pool.Run(1000, work), Throws.TypeOf<InvalidDataException>());
            Assert.That(executed, Is.InRange(1, 2));
        }
    }

    [Test]
    public void A_worker_that_is_held_up_does_not_hold_up_the_others_items([Values] bool inStretches)
    {
        const int Items = 64;
        int takenAtOnce = Items / 2 * (inStretches ? 3 : 1) / 4;
        using var pool = new WorkerPool(2, new CpuTopology(CpuTopology.Unknown(2)), tie: false);
        using var release = new ManualResetEventSlim();
        int first = 0;
        int others = 0;
        pool.Run(Items, new PoolAction((begin, end, _) =>
        {
            if (Interlocked.Exchange(ref first, 1) == 0)
            {
                // Whoever comes first waits until all else is done by the other one.
                Assert.That(release.Wait(TimeSpan.FromSeconds(20)));
            }
            else if (Interlocked.Add(ref others, end - begin) >= Items - takenAtOnce)
            {
                release.Set();
            }
        })
        {
            ReadsInStretches = inStretches,
        });
        Assert.That(others, Is.EqualTo(Items - takenAtOnce));
    }

    [Test]
    public void A_run_inside_a_run_is_refused([Values(1, 2)] int threads, [Values(1, 4)] int items)
    {
        using var pool = new WorkerPool(threads);
        Assert.That(
            () => pool.Run(items, new PoolAction((_, _, _) => pool.Run(1, new PoolAction((_, _, _) => { })))),
            Throws.InvalidOperationException);
        int done = 0;
        pool.Run(items, new PoolAction((begin, end, _) => Interlocked.Add(ref done, end - begin)));
        Assert.That(done, Is.EqualTo(items));
    }

    [Test]
    public void Fewer_active_threads_do_all_the_work_and_the_others_none([Values(1, 2, 3)] int active)
    {
        using var pool = new WorkerPool(4);
        for (int round = 0; round < 200; round++)
        {
            pool.ActiveThreads = round % 2 == 0 ? active : 4;
            var counts = new int[50];
            pool.Run(50, new PoolAction((begin, end, worker) =>
            {
                Assert.That(worker, Is.LessThan(pool.ActiveThreads));
                for (int i = begin; i < end; i++)
                {
                    Interlocked.Increment(ref counts[i]);
                }
            }));
            Assert.That(counts, Is.All.EqualTo(1));
        }

        Assert.That(() => pool.ActiveThreads = 5, Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => pool.ActiveThreads = 0, Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Only_one_pool_at_a_time_has_cores_of_its_own()
    {
        if (CpuTopology.OfThisProcess.PhysicalCores.Count != CpuTopology.OfThisProcess.DefaultThreads)
        {
            Assert.Ignore("A quota leaves less time than there are cores.");
        }

        using (var first = new WorkerPool())
        {
            using var second = new WorkerPool();
            Assert.That((first.OnCores, second.OnCores), Is.EqualTo((true, false)));
        }

        using var third = new WorkerPool();
        using var other = new WorkerPool(third.Threads + 1);
        Assert.That((third.OnCores, other.OnCores), Is.EqualTo((true, false)));
    }

    [Test]
    public void A_thread_that_cannot_be_started_leaves_no_others_behind()
    {
        var machine = new CpuTopology([.. CpuTopology.Unknown(4)]);
        var started = new List<Thread>();
        void Start(Thread thread)
        {
            if (started.Count == 2)
            {
                throw new IOException("no thread is left");
            }

            thread.Start();
            started.Add(thread);
        }

        // Tied, as far as this machine has such processors: a pool that failed must not keep the cores.
        for (int round = 0; round < 2; round++)
        {
            Assert.That(() => new WorkerPool(4, machine, start: Start), Throws.TypeOf<IOException>());
            Assert.That(started.Select(t => t.IsAlive), Is.EqualTo(new[] { false, false }));
            started.Clear();
        }

        using var pool = new WorkerPool(4, machine);
        Assert.That(pool.OnCores);
    }

    [Test]
    public void Disposal_ends_the_threads_and_may_be_repeated()
    {
        var pool = new WorkerPool(4);
        pool.Run(10, new PoolAction((_, _, _) => { }));
        pool.Dispose();
        pool.Dispose();
        Assert.That(() => pool.Run(1, new PoolAction((_, _, _) => { })), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => new WorkerPool(0), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    /// <summary>Workers spin, are about to sleep, or sleep.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Disposal_ends_the_threads_at_any_moment(CancellationToken cancellation)
    {
        var work = new PoolAction((_, _, _) => { });
        for (int round = 0; round < 500; round++)
        {
            var pool = new WorkerPool(3) { SpinTime = TimeSpan.FromMicroseconds(round % 7 * 20) };
            pool.Run(round % 5, work);
            Thread.SpinWait(round * 10);
            Assert.That(Task.Run(pool.Dispose, cancellation).Wait(30_000, cancellation), $"round {round}");
        }
    }

    [Test]
    public void Runs_allocate_nothing()
    {
        using var pool = new WorkerPool(2);
        var work = new PoolAction((_, _, _) => { });
        pool.Run(100, work);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++)
        {
            pool.Run(100, work);
        }

        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1000));
    }
}
