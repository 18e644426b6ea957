// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Cpu;

/// <summary>Work that is cut into items; <see cref="Execute"/> runs on several threads at once for disjoint ranges.</summary>
internal interface IPoolWork
{
    /// <param name="begin">First item.</param>
    /// <param name="end">Behind the last item.</param>
    /// <param name="worker">Index of the executing worker, 0 … Threads - 1, for scratch memory of its own.</param>
    void Execute(int begin, int end, int worker);
}

/// <summary>
/// The threads of one model: the caller and one pinned thread per further physical core. Each worker begins with its own
/// contiguous share of the items and takes ever smaller parts of it; a worker that is done takes items of the others. A run ends
/// when no item is left and nobody works on one: a thread that lost its core to another process delays it by the part
/// it has taken, and not at all if it has not begun. Workers spin briefly after a run, because the next one of a forward pass
/// follows within microseconds, and then sleep. Run is not reentrant and is called by one thread at a time.
/// </summary>
internal sealed class WorkerPool : IDisposable
{
    /// <summary>A worker takes this part of what is left of its own share, so that the end is cut finely enough to even out.</summary>
    private const int OwnPart = 4;

    private const long ActiveMask = 0xFFFF;
    private const long Open = 0x10000;
    private const int RunShift = 17;

    private static readonly long s_spinTicks = System.Diagnostics.Stopwatch.Frequency * 40 / 1_000_000;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim[] _wakeups;
    private readonly Share[] _shares;
    private readonly int[] _sleeping;
    private IPoolWork? _work;

    /// <summary>Workers inside the run (lower 16 bits), whether more may enter (<see cref="Open"/>), and the run's number above.</summary>
    private long _state;
    private Exception? _failure;
    private volatile bool _stopping;

    /// <param name="threads">The caller included; null for one per physical core that this process may use.</param>
    public WorkerPool(int? threads = null)
    {
        IReadOnlyList<int> cores = CpuTopology.PhysicalCores;
        Threads = threads ?? cores.Count;
        ArgumentOutOfRangeException.ThrowIfLessThan(Threads, 1, nameof(threads));
        _shares = new Share[Threads];
        _sleeping = new int[Threads];
        _wakeups = [.. Enumerable.Range(0, Threads).Select(_ => new SemaphoreSlim(0))];
        _threads = new Thread[Threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;

            // More threads than cores float; the caller keeps the first core by the scheduler's choice.
            int? core = Threads <= cores.Count ? cores[worker] : null;
            _threads[i] = new Thread(() => WorkerLoop(worker, core)) { IsBackground = true, Name = $"kimi-worker-{worker}" };
            _threads[i].Start();
        }
    }

    public int Threads { get; }

    /// <summary>Executes all items and returns when they are done. The first exception of an item is rethrown.</summary>
    public void Run(int itemCount, IPoolWork work)
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        if (itemCount <= 0)
        {
            return;
        }

        if (Threads == 1 || itemCount == 1)
        {
            work.Execute(0, itemCount, 0);
            return;
        }

        if (Interlocked.CompareExchange(ref _work, work, null) is not null)
        {
            throw new InvalidOperationException("The pool is running already; one caller at a time, and no run inside a run.");
        }

        Start(itemCount);
        Work(0);
        Interlocked.And(ref _state, ~Open);
        var spinner = new SpinWait();
        while ((Volatile.Read(ref _state) & ActiveMask) != 0)
        {
            spinner.SpinOnce(sleep1Threshold: -1);
        }

        _work = null;
        if (_failure is { } failure)
        {
            _failure = null;
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    public void Dispose()
    {
        if (_stopping)
        {
            return;
        }

        _stopping = true;
        Interlocked.Add(ref _state, 1L << RunShift);
        Array.ForEach(_wakeups, w => w.Release());
        Array.ForEach(_threads, t => t.Join());
        Array.ForEach(_wakeups, w => w.Dispose());
    }

    private void Start(int itemCount)
    {
        for (int i = 0; i < Threads; i++)
        {
            _shares[i].Left = Pack((int)((long)itemCount * i / Threads), (int)((long)itemCount * (i + 1) / Threads));
        }

        Interlocked.Exchange(ref _state, (((_state >> RunShift) + 1) << RunShift) | Open);
        for (int i = 1; i < Threads; i++)
        {
            if (Interlocked.Exchange(ref _sleeping[i], 0) == 1)
            {
                _wakeups[i].Release();
            }
        }
    }

    private void WorkerLoop(int worker, int? core)
    {
        if (core is { } processor)
        {
            CpuTopology.TryPin(processor);
        }

        long seen = 0;
        while (true)
        {
            WaitForNextRun(worker, seen);
            if (_stopping)
            {
                return;
            }

            long state = Volatile.Read(ref _state);
            seen = state >> RunShift;
            while ((state & Open) != 0 && state >> RunShift == seen)
            {
                long found = Interlocked.CompareExchange(ref _state, state + 1, state);
                if (found == state)
                {
                    Work(worker);
                    Interlocked.Decrement(ref _state);
                    break;
                }

                state = found;
            }
        }
    }

    private void WaitForNextRun(int worker, long seen)
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        while (Volatile.Read(ref _state) >> RunShift == seen)
        {
            if (System.Diagnostics.Stopwatch.GetTimestamp() - start < s_spinTicks)
            {
                Thread.SpinWait(8);
                continue;
            }

            // Announce the sleep first, then look again: a run that starts in between takes the announcement back.
            Interlocked.Exchange(ref _sleeping[worker], 1);
            if (Volatile.Read(ref _state) >> RunShift == seen || Interlocked.Exchange(ref _sleeping[worker], 0) == 0)
            {
                _wakeups[worker].Wait();
            }
        }
    }

    /// <summary>Takes parts of the worker's own share first, then of the others', until none is left.</summary>
    private void Work(int worker)
    {
        IPoolWork work = _work!;
        for (int i = 0; i < Threads; i++)
        {
            ref long left = ref _shares[(worker + i) % Threads].Left;
            while (TryTake(ref left, own: i == 0, out int begin, out int end))
            {
                try
                {
                    work.Execute(begin, end, worker);
                }
                catch (Exception e)
                {
                    Interlocked.CompareExchange(ref _failure, e, null);
                    return;
                }
            }
        }
    }

    /// <summary>The owner takes from the front, where its memory continues; others take single items from the back.</summary>
    private static bool TryTake(ref long left, bool own, out int begin, out int end)
    {
        long seen = Volatile.Read(ref left);
        while (true)
        {
            begin = (int)seen;
            end = (int)(seen >> 32);
            int count = end - begin;
            if (count <= 0)
            {
                return false;
            }

            int taken = own ? (count + OwnPart - 1) / OwnPart : 1;
            long rest = own ? Pack(begin + taken, end) : Pack(begin, end - taken);
            long found = Interlocked.CompareExchange(ref left, rest, seen);
            if (found == seen)
            {
                (begin, end) = own ? (begin, begin + taken) : (end - taken, end);
                return true;
            }

            seen = found;
        }
    }

    private static long Pack(int begin, int end) => ((long)end << 32) | (uint)begin;

    /// <summary>The items of one worker that nobody has taken yet; a cache line of its own.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 128)]
    private struct Share
    {
        /// <summary>First item in the lower half, behind the last in the upper.</summary>
        [FieldOffset(0)]
        public long Left;
    }
}
