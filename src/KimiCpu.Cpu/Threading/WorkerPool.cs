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

    /// <summary>
    /// Whether items take about equally long and read memory one behind another, so that workers take most of their share at once; else they take
    /// less, to leave items to others that are done first. Stays the same during a run.
    /// </summary>
    bool ReadsInStretches => false;
}

/// <summary>
/// The threads of one model: the caller and one pinned thread per further physical core. Each worker begins with its own
/// contiguous share of the items and takes ever smaller parts of it; a worker that is done takes items of the others. A run ends
/// when no item is left and nobody works on one: a thread that lost its core to another process delays it by the part
/// it has taken, and not at all if it has not begun. Workers spin briefly after a run, because the next one of a forward pass
/// follows within microseconds, and then sleep. Run is not reentrant and is called by one thread at a time.
/// On a machine with several NUMA nodes items are cut among the nodes first, the same way in every run of so many items, so
/// that memory which an item reads stays near the node that first touched it; workers help out on their own node, and on
/// others only at the very end.
/// </summary>
internal sealed class WorkerPool : IDisposable
{
    /// <summary>
    /// A worker takes this part of what is left of its own share, so that the end is cut finely enough to even out, or leaves this part to later where
    /// work reads in stretches, which evens out cores whose speeds are as 3 to 5: memory is read fastest in long ones (INT4 experts of 2048 · 1024 columns
    /// on two cores of Zen 5: taking a quarter 0.71 of the bandwidth, a half 0.74, three quarters 0.78, all 0.79).
    /// </summary>
    private const int OwnPart = 4;

    /// <summary>The last part of a share that workers of other nodes may take from.</summary>
    private const int TailPart = 8;

    private const long ActiveMask = 0xFFFF;
    private const long Open = 0x10000;
    private const int RunShift = 17;

    private static readonly long s_spinTicks = System.Diagnostics.Stopwatch.Frequency * 40 / 1_000_000;

    private static int s_poolsOnCores;

    private readonly Team[] _teams;
    private readonly int[] _teamOf;
    private readonly int[] _ends;
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
    /// <param name="topology">Null for that of this process.</param>
    /// <param name="tie">Whether threads may be tied to processors; not where the topology is made up.</param>
    public WorkerPool(int? threads = null, CpuTopology? topology = null, bool tie = true)
    {
        topology ??= CpuTopology.OfThisProcess;
        Threads = threads ?? topology.DefaultThreads;
        ArgumentOutOfRangeException.ThrowIfLessThan(Threads, 1, nameof(threads));

        // A second pool on the same cores would compete with the first one's threads without a way out, so it floats.
        OnCores = tie && WorkerPlacement.SuitsCores(topology, Threads) && Interlocked.CompareExchange(ref s_poolsOnCores, 1, 0) == 0;
        WorkerPlacement placement = WorkerPlacement.Of(topology, Threads, OnCores);
        _teams = [.. placement.Nodes.Select(n => new Team(n, tie ? n.Processors : []))];
        _teamOf = [.. _teams.SelectMany((t, i) => Enumerable.Repeat(i, t.Threads))];
        _ends = new int[_teams.Length];
        ActiveThreads = Threads;
        _shares = new Share[Threads];
        _sleeping = new int[Threads];
        _wakeups = [.. Enumerable.Range(0, Threads).Select(_ => new SemaphoreSlim(0))];
        _threads = new Thread[Threads - 1];
        for (int i = 0; i < _threads.Length; i++)
        {
            int worker = i + 1;
            int[] processors = tie ? placement.ProcessorsOf(worker) : [];
            _threads[i] = new Thread(() => WorkerLoop(worker, processors)) { IsBackground = true, Name = $"kimi-worker-{worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Workers that there are: their indices are 0 … Threads - 1.</summary>
    public int Threads { get; }

    /// <summary>How many of them take part in runs, in proportion on each node; the others sleep. Set between runs only.</summary>
    public int ActiveThreads
    {
        get;
        set
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(value, Threads);
            field = value;
            foreach (Team team in _teams)
            {
                // Rounded up, so that the caller's node always has a part.
                team.ActiveBefore = Active(team.First);
                team.Active = Active(team.First + team.Threads) - team.ActiveBefore;
            }

            int Active(int workers) => (int)((((long)value * workers) + Threads - 1) / Threads);
        }
    }

    /// <summary>Whether each worker but the caller has a core of its own.</summary>
    public bool OnCores { get; }

    /// <summary>NUMA nodes that workers are divided among; 1 on most machines.</summary>
    public int NodeCount => _teams.Length;

    /// <summary>Whether a worker takes the last items of other nodes when it finds none on its own.</summary>
    public bool HelpsOtherNodes { get; init; } = true;

    /// <summary>The node of a worker, 0 … NodeCount - 1.</summary>
    public int NodeOf(int worker) => _teamOf[worker];

    /// <summary>Where each node's part of so many items ends when they are divided in proportion to the threads.</summary>
    public void CutByNode(int itemCount, Span<int> ends)
    {
        for (int n = 0; n < _teams.Length; n++)
        {
            ends[n] = (int)((long)itemCount * (_teams[n].ActiveBefore + _teams[n].Active) / ActiveThreads);
        }
    }

    /// <summary>Ties the calling thread, which is to call <see cref="Run(int, IPoolWork)"/> from now on, to the node of worker 0. Nothing happens on a machine with one node.</summary>
    public void TieCaller() => ThreadAffinity.TryTie(_teams[0].Processors);

    /// <summary>Executes all items and returns when they are done. The first exception of an item is rethrown.</summary>
    public void Run(int itemCount, IPoolWork work)
    {
        Enter(itemCount, work);
        if (itemCount > 1 && ActiveThreads > 1)
        {
            CutByNode(itemCount, _ends);
        }

        RunEntered(itemCount, work);
    }

    /// <summary>Executes items whose division among the nodes is given.</summary>
    /// <param name="nodeEnds">Behind each node's last item; a node without active threads has none.</param>
    /// <param name="work">What to execute.</param>
    public void Run(ReadOnlySpan<int> nodeEnds, IPoolWork work)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(nodeEnds.Length, NodeCount);
        for (int n = 1; n < nodeEnds.Length; n++)
        {
            if (nodeEnds[n] < nodeEnds[n - 1] || (nodeEnds[n] > nodeEnds[n - 1] && _teams[n].Active == 0))
            {
                throw new ArgumentException("Ends rise, and a node without active threads has no items.", nameof(nodeEnds));
            }
        }

        Enter(nodeEnds[^1], work);
        nodeEnds.CopyTo(_ends);
        RunEntered(nodeEnds[^1], work);
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
        if (OnCores)
        {
            Volatile.Write(ref s_poolsOnCores, 0);
        }
    }

    private void Enter(int itemCount, IPoolWork work)
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        if (itemCount > 0 && Interlocked.CompareExchange(ref _work, work, null) is not null)
        {
            throw new InvalidOperationException("The pool is running already; one caller at a time, and no run inside a run.");
        }
    }

    private void RunEntered(int itemCount, IPoolWork work)
    {
        if (itemCount <= 0)
        {
            return;
        }

        if (ActiveThreads == 1 || itemCount == 1)
        {
            try
            {
                work.Execute(0, itemCount, 0);
            }
            finally
            {
                _work = null;
            }

            return;
        }

        Start();
        Work(0);
        WaitForOtherNodes();
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

    private void Start()
    {
        int begin = 0;
        for (int n = 0; n < _teams.Length; n++)
        {
            Team team = _teams[n];
            int count = _ends[n] - begin;
            for (int i = 0; i < team.Active; i++)
            {
                int first = begin + (int)((long)count * i / team.Active);
                int end = begin + (int)((long)count * (i + 1) / team.Active);
                ref Share share = ref _shares[team.First + i];
                share.Left = Pack(first, end);
                share.Tail = HelpsOtherNodes ? Math.Max(1, (end - first) / TailPart) : 0;
            }

            begin = _ends[n];
        }

        Interlocked.Exchange(ref _state, (((_state >> RunShift) + 1) << RunShift) | Open);
        foreach (Team team in _teams)
        {
            for (int i = team.First; i < team.First + team.Active; i++)
            {
                if (i > 0 && Interlocked.Exchange(ref _sleeping[i], 0) == 1)
                {
                    _wakeups[i].Release();
                }
            }
        }
    }

    private void WorkerLoop(int worker, int[] processors)
    {
        ThreadAffinity.TryTie(processors);
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
            while ((state & Open) != 0 && state >> RunShift == seen && IsActive(worker))
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

    private bool IsActive(int worker)
    {
        Team team = _teams[_teamOf[worker]];
        return worker - team.First < Volatile.Read(ref team.Active);
    }

    private void WaitForNextRun(int worker, long seen)
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        long spinTicks = IsActive(worker) ? s_spinTicks : 0;
        while (Volatile.Read(ref _state) >> RunShift == seen)
        {
            if (System.Diagnostics.Stopwatch.GetTimestamp() - start < spinTicks)
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

    /// <summary>Takes parts of the worker's own share first, then of the others' on its node, then the ends of other nodes' shares.</summary>
    private void Work(int worker)
    {
        Team team = _teams[_teamOf[worker]];
        int own = worker - team.First;
        if (!TakeAll(worker, ref _shares[worker].Left, own: true, int.MaxValue))
        {
            return;
        }

        for (int i = 1; i < team.Active; i++)
        {
            if (!TakeAll(worker, ref _shares[team.First + ((own + i) % team.Active)].Left, own: false, int.MaxValue))
            {
                return;
            }
        }

        HelpOtherNodes(worker);
    }

    /// <summary>False when an item failed.</summary>
    private bool HelpOtherNodes(int worker)
    {
        for (int n = 1; n < _teams.Length; n++)
        {
            Team team = _teams[(_teamOf[worker] + n) % _teams.Length];
            for (int i = team.First; i < team.First + team.Active; i++)
            {
                if (!TakeAll(worker, ref _shares[i].Left, own: false, _shares[i].Tail))
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>The caller keeps the run open as long as another node has items that nobody else may take.</summary>
    private void WaitForOtherNodes()
    {
        if (_teams.Length == 1)
        {
            return;
        }

        var spinner = new SpinWait();
        while (AnyLeft() && Volatile.Read(ref _failure) is null && HelpOtherNodes(0))
        {
            spinner.SpinOnce(sleep1Threshold: -1);
        }
    }

    private bool AnyLeft()
    {
        foreach (Team team in _teams)
        {
            for (int i = team.First; i < team.First + team.Active; i++)
            {
                long left = Volatile.Read(ref _shares[i].Left);
                if ((int)left < (int)(left >> 32))
                {
                    return true;
                }
            }
        }

        return false;
    }

    /// <summary>Executes items of a share until none is left, or more than <paramref name="most"/>; false when one failed.</summary>
    private bool TakeAll(int worker, ref long left, bool own, int most)
    {
        IPoolWork work = _work!;
        bool inStretches = work.ReadsInStretches;
        while (TryTake(ref left, own, inStretches, most, out int begin, out int end))
        {
            try
            {
                work.Execute(begin, end, worker);
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref _failure, e, null);
                return false;
            }
        }

        return true;
    }

    /// <summary>The owner takes from the front, where its memory continues; others take single items from the back.</summary>
    private static bool TryTake(ref long left, bool own, bool inStretches, int most, out int begin, out int end)
    {
        long seen = Volatile.Read(ref left);
        while (true)
        {
            begin = (int)seen;
            end = (int)(seen >> 32);
            int count = end - begin;
            if (count <= 0 || count > most)
            {
                return false;
            }

            int part = (count + OwnPart - 1) / OwnPart;
            int taken = !own ? 1 : inStretches ? Math.Max(1, count - part) : part;
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

        /// <summary>So many of the last items may be taken by workers of other nodes.</summary>
        [FieldOffset(8)]
        public int Tail;
    }

    /// <summary>The workers of a node.</summary>
    private sealed class Team(WorkerNode node, int[] processors)
    {
        /// <summary>Workers that take part: the first so many.</summary>
        public int Active;

        /// <summary>Workers of the nodes before that take part.</summary>
        public int ActiveBefore;

        public int First { get; } = node.First;

        public int Threads { get; } = node.Threads;

        public int[] Processors { get; } = processors;
    }
}
