// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Threading;

namespace KimiCpu.Cpu;

/// <summary>
/// The threads of one model: the caller and one pinned thread per further physical core. Each worker begins with its own
/// contiguous share of the items and takes ever smaller parts of it; a worker that is done takes items of the others. A run ends
/// when all items are done: a thread that lost its core to another process delays it by the part
/// it has taken, and not at all if it has not begun. Workers spin for a while after a run, because the next one of a forward pass
/// follows soon, and then sleep. Run is not reentrant and is called by one thread at a time.
/// On a machine with several NUMA nodes items are cut among the nodes first, the same way in every run of so many items, so
/// that memory which an item reads stays near the node that first touched it; workers help out on their own node, and on
/// others only at the very end.
/// </summary>
/// <remarks>
/// No word is written by all: with sixteen workers that enter and leave a run through one counter its cache line alone takes longer than a short run. A worker
/// waits at a word of its own, which says at once that there is a run and which items are its share, and counts what it has done in another one. The caller adds these up.
/// </remarks>
internal sealed class WorkerPool : IDisposable
{
    /// <summary>The last part of a share that workers of other nodes may take from.</summary>
    private const int TailPart = 8;

    /// <summary>The caller looks so often for the others' end, some 20 µs, before it lets other threads have its core.</summary>
    private const int EagerLooks = 256;

    /// <summary>And looks so often before it looks for other nodes' items.</summary>
    private const int LooksPerHelp = 8;

    /// <summary>A waiting worker looks at the clock once in so many looks at its share.</summary>
    private const int LooksPerTime = 32;

    /// <summary>For runs that follow one another.</summary>
    public static readonly TimeSpan DefaultSpinTime = TimeSpan.FromMicroseconds(40);

    /// <summary>
    /// Steps of so many rows multiply what all rows meet longer than they read it: with 28 threads of 83 billion products a second each, and memory of 500 GB/s, BF16 weights from some nine rows on.
    /// Routed experts, which have some of the rows each, are read longer until there are some 260 rows; more threads read them no faster.
    /// </summary>
    private const int FewestRowsOfAll = 16;

    private static int s_pools;
    private static int s_poolsOnCores;

    private readonly WorkerTeams _teams;
    private readonly int[] _nodeEnds;

    /// <summary>Behind each worker's last item of a run.</summary>
    private readonly int[] _ends;
    private readonly List<Thread> _threads = [];
    private readonly SemaphoreSlim[] _wakeups;
    private readonly WorkerShare[] _shares;
    private IPoolWork? _work;
    private int _run;

    /// <summary>Items of all runs so far.</summary>
    private long _due;
    private Exception? _failure;
    private volatile bool _stopping;

    /// <param name="threads">The caller included; null for one per physical core that this process may use.</param>
    /// <param name="topology">Null for that of this process.</param>
    /// <param name="tie">Whether threads may be tied to processors; not where the topology is made up.</param>
    /// <param name="start">Starts a thread, or throws where the system has none left; null for <see cref="Thread.Start()"/>.</param>
    public WorkerPool(int? threads = null, CpuTopology? topology = null, bool tie = true, Action<Thread>? start = null)
    {
        topology ??= CpuTopology.OfThisProcess;
        Threads = threads ?? topology.DefaultThreads;
        ArgumentOutOfRangeException.ThrowIfLessThan(Threads, 1, nameof(threads));

        // A second pool on the same cores would compete with the first one's threads without a way out, so it floats.
        OnCores = tie && WorkerPlacement.SuitsCores(topology, Threads) && Interlocked.CompareExchange(ref s_poolsOnCores, 1, 0) == 0;
        bool isFirst = Interlocked.Increment(ref s_pools) == 1;
        MayWait = (OnCores || isFirst) && topology.HasRoomFor(Threads);
        WorkerPlacement placement = WorkerPlacement.Of(topology, Threads, OnCores);
        _teams = new WorkerTeams(placement, tie);
        _nodeEnds = new int[_teams.Count];
        _ends = new int[Threads];
        _shares = new WorkerShare[Threads];
        _wakeups = [.. Enumerable.Range(0, Threads).Select(_ => new SemaphoreSlim(0))];
        try
        {
            for (int i = 1; i < Threads; i++)
            {
                int worker = i;
                int[] processors = tie ? placement.ProcessorsOf(worker) : [];
                var thread = new Thread(() => WorkerLoop(worker, processors)) { IsBackground = true, Name = $"kimi-worker-{worker}" };
                OwnThread.Start(thread, start);
                _threads.Add(thread);
            }
        }
        catch
        {
            // Nobody else could end those that run already, or let the next pool have the cores.
            Dispose();
            throw;
        }
    }

    /// <summary>Workers that there are: their indices are 0 … Threads - 1.</summary>
    public int Threads { get; }

    /// <summary>How many of them take part in runs, in proportion on each node; the others sleep. Set between runs only; workers that are late for the last one may read it meanwhile.</summary>
    public int ActiveThreads
    {
        get => _teams.ActiveThreads;
        set => _teams.ActiveThreads = value;
    }

    /// <summary>How many are active in steps of few rows, which memory binds; null where nobody has found out that fewer are as fast.</summary>
    public int? DecodingThreads { get; set; }

    /// <summary>Whether each worker but the caller has a core of its own.</summary>
    public bool OnCores { get; }

    /// <summary>
    /// Whether workers that spin for long take no processor from anybody: they are tied to cores, or they float, are no more than the cores and the quota, and
    /// there was no other pool of this process when they began.
    /// </summary>
    public bool MayWait { get; }

    /// <summary>NUMA nodes that workers are divided among; 1 on most machines.</summary>
    public int NodeCount => _teams.Count;

    /// <summary>
    /// How long a worker spins after a run before it sleeps; waking one takes some 40 µs, and they are woken one after another. A worker notices a change when it next waits.
    /// </summary>
    public TimeSpan SpinTime { get; set; } = DefaultSpinTime;

    /// <summary>Workers that sleep now; as seen by a thread that starts no run meanwhile.</summary>
    public int Sleeping
    {
        get
        {
            int count = 0;
            foreach (ref WorkerShare share in _shares.AsSpan())
            {
                count += Volatile.Read(ref share.Sleeping);
            }

            return count;
        }
    }

    /// <summary>Whether a worker takes the last items of other nodes when it finds none on its own.</summary>
    public bool HelpsOtherNodes { get; init; } = true;

    /// <summary>The node of a worker, 0 … NodeCount - 1.</summary>
    public int NodeOf(int worker) => _teams.NodeOf(worker);

    /// <summary>The workers of a node that take part in runs: so many from the first one on.</summary>
    public (int First, int Count) ActiveOf(int node) => (_teams[node].First, _teams[node].Active);

    /// <summary>Where each node's part of so many items ends when they are divided in proportion to the threads.</summary>
    public void CutByNode(int itemCount, Span<int> ends) => _teams.CutByNode(itemCount, ends);

    /// <summary>Lets as many threads take part as suit a step of so many rows. Between runs.</summary>
    public void SuitRows(int rows)
    {
        if (DecodingThreads is { } few && (rows < FewestRowsOfAll ? few : Threads) is var suited && suited != ActiveThreads)
        {
            ActiveThreads = suited;
        }
    }

    /// <summary>Ties the calling thread, which is to call <see cref="Run(int, IPoolWork)"/> from now on, to the node of worker 0. Nothing happens on a machine with one node.</summary>
    public void TieCaller() => ThreadAffinity.TryTie(_teams[0].Processors);

    /// <summary>Executes all items and returns when they are done. The first exception of an item is rethrown; items that nobody had begun by then are left out.</summary>
    /// <exception cref="ArgumentOutOfRangeException">More than <see cref="ItemRange.MostItems"/>.</exception>
    public void Run(int itemCount, IPoolWork work)
    {
        Enter(itemCount, work);
        if (!IsCallersAlone(itemCount, work))
        {
            CutByNode(itemCount, _nodeEnds);
            _teams.Divide(_nodeEnds, _ends);
        }

        RunEntered(itemCount, work);
    }

    /// <summary>Executes items whose division among the nodes is given.</summary>
    /// <param name="nodeEnds">Behind each node's last item; a node without active threads has none.</param>
    /// <param name="work">What to execute.</param>
    public void Run(ReadOnlySpan<int> nodeEnds, IPoolWork work)
    {
        _teams.CheckNodeEnds(nodeEnds);
        Enter(nodeEnds[^1], work);
        _teams.Divide(nodeEnds, _ends);
        RunEntered(nodeEnds[^1], work);
    }

    /// <summary>
    /// Executes items whose division among the workers is given, for those that take unequally long: what a worker has taken nobody else can take over, and the first
    /// part of a share of equally many items may take longer than all other shares.
    /// </summary>
    /// <param name="shareEnds">Behind each worker's last item; one that is not active has none.</param>
    /// <param name="work">What to execute.</param>
    public void RunShares(ReadOnlySpan<int> shareEnds, IPoolWork work)
    {
        _teams.CheckShareEnds(shareEnds);
        Enter(shareEnds[^1], work);
        shareEnds.CopyTo(_ends);
        RunEntered(shareEnds[^1], work);
    }

    public void Dispose()
    {
        if (_stopping)
        {
            return;
        }

        _stopping = true;
        Array.ForEach(_wakeups, w => w.Release());
        _threads.ForEach(t => t.Join());
        Array.ForEach(_wakeups, w => w.Dispose());
        Interlocked.Decrement(ref s_pools);
        if (OnCores)
        {
            Volatile.Write(ref s_poolsOnCores, 0);
        }
    }

    private void Enter(int itemCount, IPoolWork work)
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(itemCount, ItemRange.MostItems);
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

        if (IsCallersAlone(itemCount, work))
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

        _due += itemCount;
        Start(helped: HelpsOtherNodes && !work.StaysOnNode);
        Work(0, _run);
        WaitForOthers();
        _work = null;
        if (_failure is { } failure)
        {
            _failure = null;
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }

    /// <summary>Whether nobody else is worth waking, or awake.</summary>
    private bool IsCallersAlone(int itemCount, IPoolWork work) => ActiveThreads == 1 || (itemCount <= 1 && !work.StaysOnNode);

    /// <param name="helped">Whether workers of other nodes may take the last items of a share.</param>
    private void Start(bool helped)
    {
        _run = ItemRange.RunAfter(_run);
        int first = 0;
        for (int n = 0; n < _teams.Count; n++)
        {
            WorkerTeam team = _teams[n];
            for (int i = team.First; i < team.First + team.Active; i++)
            {
                // A worker that is so fast that it finds another's share not there yet leaves that one alone.
                ref WorkerShare share = ref _shares[i];
                share.Tail = helped ? Math.Max(1, (_ends[i] - first) / TailPart) : 0;
                Volatile.Write(ref share.Left, ItemRange.Pack(_run, first, _ends[i]));
                first = _ends[i];
            }
        }

        // A worker announces its sleep and then looks at its share once more; here it is the other way round.
        Interlocked.MemoryBarrier();
        for (int n = 0; n < _teams.Count; n++)
        {
            WorkerTeam team = _teams[n];
            for (int i = Math.Max(team.First, 1); i < team.First + team.Active; i++)
            {
                ref int sleeping = ref _shares[i].Sleeping;
                if (Volatile.Read(ref sleeping) == 1 && Interlocked.Exchange(ref sleeping, 0) == 1)
                {
                    _wakeups[i].Release();
                }
            }
        }
    }

    private void WorkerLoop(int worker, int[] processors)
    {
        ThreadAffinity.TryTie(processors);
        int run = 0;
        while (true)
        {
            run = WaitForNextRun(worker, run);
            if (_stopping)
            {
                return;
            }

            Work(worker, run);
        }
    }

    /// <summary>The number of the run that the worker is part of and has not seen yet.</summary>
    private int WaitForNextRun(int worker, int seen)
    {
        ref WorkerShare share = ref _shares[worker];
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        TimeSpan spinTime = _teams.IsActive(worker) ? SpinTime : TimeSpan.Zero;
        for (int looks = 1; ; looks++)
        {
            int run = ItemRange.Run(Volatile.Read(ref share.Left));
            if (run != seen)
            {
                return run;
            }

            // What else it looks at lies beside words that the caller writes with each run.
            if (looks % LooksPerTime != 0)
            {
                Thread.SpinWait(1);
                continue;
            }

            if (_stopping)
            {
                return run;
            }

            if (System.Diagnostics.Stopwatch.GetElapsedTime(start) < spinTime)
            {
                continue;
            }

            // Announce the sleep first, then look again: a run that starts in between takes the announcement back.
            Interlocked.Exchange(ref share.Sleeping, 1);
            if ((ItemRange.Run(Volatile.Read(ref share.Left)) == seen && !_stopping) || Interlocked.Exchange(ref share.Sleeping, 0) == 0)
            {
                // Whoever is woken has a run, even if after very many of them it has the number of the last one seen.
                _wakeups[worker].Wait();
                return ItemRange.Run(Volatile.Read(ref share.Left));
            }
        }
    }

    /// <summary>Takes parts of the worker's own share first, then of the others' on its node, then the ends of other nodes' shares.</summary>
    private void Work(int worker, int run)
    {
        WorkerTeam team = _teams.TeamOf(worker);
        int own = worker - team.First;
        TakeAll(worker, run, ref _shares[worker], Volatile.Read(ref _work) is { ReadsInStretches: true } ? SharePortion.Most : SharePortion.Part);
        int active = Volatile.Read(ref team.Active);
        for (int i = 1; i < active; i++)
        {
            TakeAll(worker, run, ref _shares[team.First + ((own + i) % active)], SharePortion.Item);
        }

        HelpOtherNodes(worker, run);
    }

    private void HelpOtherNodes(int worker, int run)
    {
        for (int n = 1; n < _teams.Count && HelpsOtherNodes; n++)
        {
            WorkerTeam team = _teams[(_teams.NodeOf(worker) + n) % _teams.Count];
            for (int i = team.First; i < team.First + team.Active; i++)
            {
                TakeAll(worker, run, ref _shares[i], SharePortion.TailItem);
            }
        }
    }

    /// <summary>The caller goes on helping as long as another node has items that nobody else may take.</summary>
    private void WaitForOthers()
    {
        var spinner = new SpinWait();
        for (int looks = 1; Done() != _due; looks++)
        {
            if (looks % LooksPerHelp == 0)
            {
                HelpOtherNodes(0, _run);
            }

            if (looks < EagerLooks)
            {
                Thread.SpinWait(1);
            }
            else
            {
                spinner.SpinOnce(sleep1Threshold: -1);
            }
        }
    }

    /// <summary>Items of all runs that are done.</summary>
    private long Done()
    {
        long done = 0;
        foreach (ref WorkerShare share in _shares.AsSpan())
        {
            done += Volatile.Read(ref share.Done);
        }

        return done;
    }

    /// <summary>Executes items of a share until there is none to take. Items behind a failure count as done.</summary>
    private void TakeAll(int worker, int run, ref WorkerShare share, SharePortion portion)
    {
        int done = 0;
        while (share.TryTake(run, portion, out int begin, out int end))
        {
            try
            {
                if (Volatile.Read(ref _failure) is null)
                {
                    // Until the items that were taken are counted, the pool's work is theirs.
                    Volatile.Read(ref _work)!.Execute(begin, end, worker);
                }
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref _failure, e, null);
            }

            done += end - begin;
        }

        if (done > 0)
        {
            // Once for all of them: the caller may be looking.
            ref long all = ref _shares[worker].Done;
            Volatile.Write(ref all, all + done);
        }
    }
}
