// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>How the CPU computes.</summary>
internal sealed record CpuBackendOptions
{
    public ComputePrecision Precision { get; init; } = ComputePrecision.Fast;

    /// <summary>Null for one per physical core.</summary>
    public int? Threads { get; init; }

    /// <summary>A made-up machine, for tests: threads are divided among its nodes and tied to nothing.</summary>
    public CpuTopology? SimulatedTopology { get; init; }

    /// <summary>Whether the hot path is copied to 8-bit weights, which halves what a token reads of it.</summary>
    public bool Int8HotPath { get; init; }

    /// <summary>Told while the hot path's weights are read or copied: parts done, parts in all. An exception from here stops the opening.</summary>
    public Action<int, int>? HotPathProgress { get; init; }

    /// <summary>Where the routed experts are read from when they are not used where the checkpoint is mapped; stays the caller's.</summary>
    public ExpertFiles? ExpertFiles { get; init; }

    /// <summary>With <see cref="ExpertFiles"/>: the memory for them.</summary>
    public TieredStoreOptions? Store { get; init; }

    /// <summary>Whether another device runs the hot path, the shared experts included; the own one is then made when it is needed.</summary>
    public bool HotPathElsewhere { get; init; }

    /// <summary>Whether kernels may be written as machine code at run time.</summary>
    public bool AllowGeneratedCode { get; init; } = true;

    /// <summary>Whether each MoE layer predicts the experts of the next one; see <see cref="RoutedRows.Predicted"/>.</summary>
    public bool LookAhead { get; init; }
}

/// <summary>A model's CPU side: its threads, kernels, hot path and routed experts. Owns them all.</summary>
internal sealed unsafe class CpuBackend : IDisposable
{
    /// <summary>
    /// A layer's attention on a GPU takes some 0.1 to 0.4 ms, in which the workers have nothing to do; to sleep and be woken in each of 60 layers would cost a few milliseconds a token.
    /// </summary>
    private static readonly TimeSpan s_spinBesideDevice = TimeSpan.FromMilliseconds(1);

    /// <summary>As they were made; given back in the opposite order.</summary>
    private readonly Stack<IDisposable> _owned = [];
    private readonly ModelWeights _weights;
    private readonly CpuBackendOptions _options;
    private Int8Copies? _copies;
    private CpuHotPath? _hotPath;

    public CpuBackend(ModelWeights weights, CpuBackendOptions options)
    {
        _weights = weights;
        _options = options;
        try
        {
            Kernel = TileKernel.Best(options.AllowGeneratedCode);
            Pool = Own(new WorkerPool(options.Threads, options.SimulatedTopology, tie: options.SimulatedTopology is null));

            Pool.SpinTime = options.HotPathElsewhere && Pool.MayWait ? s_spinBesideDevice : WorkerPool.DefaultSpinTime;
            Memory = new CpuMemory(Pool);
            SharedExpert? shared = options.HotPathElsewhere ? null : MakeHotPath(options.HotPathProgress);
            Store = Own<IExpertStore>(options.ExpertFiles is { } files ? new TieredExpertStore(weights, files, options.Store!) : new MappedExpertStore(weights));
            Experts = Own(new CpuRoutedExperts(weights, Pool, options.Precision, Kernel, shared, Store));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Bytes of the 8-bit copies; 0 without.</summary>
    public long CopiedBytes => _copies?.TotalBytes ?? 0;

    /// <summary>Stored bytes that the copies replace.</summary>
    public long ReplacedBytes => _copies?.ReplacedBytes ?? 0;

    /// <summary>What making the copies took, and reading what they are made of.</summary>
    public TimeSpan CopyTime { get; private set; }

    public WorkerPool Pool { get; }

    /// <summary>What the pool's threads get out of main memory.</summary>
    public CpuMemory Memory { get; }

    public TileKernel Kernel { get; }

    /// <summary>Whether the hot path runs here, and not on another device.</summary>
    public bool HasHotPath => _hotPath is not null;

    /// <exception cref="InvalidOperationException">Another device has it.</exception>
    public CpuHotPath HotPath => _hotPath ?? throw new InvalidOperationException("Another device runs the hot path.");

    /// <summary>Where the routed experts are.</summary>
    public IExpertStore Store { get; }

    public CpuRoutedExperts Experts { get; }

    /// <summary>
    /// Makes the hot path that <see cref="CpuBackendOptions.HotPathElsewhere"/> left out, the shared experts included, with
    /// 8-bit copies where they are asked for. Between two passes, by the thread that runs them.
    /// </summary>
    public void TakeOverHotPath()
    {
        Experts.TakeOver(MakeHotPath(progress: null));
        Pool.SpinTime = WorkerPool.DefaultSpinTime;
    }

    public void Dispose()
    {
        while (_owned.TryPop(out IDisposable? part))
        {
            part.Dispose();
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Push(part);
        return part;
    }

    private SharedExpert MakeHotPath(Action<int, int>? progress)
    {
        _copies = _options.Int8HotPath ? Own(new Int8Copies(Pool)) : null;
        long start = Stopwatch.GetTimestamp();
        HotWeights hot;
        try
        {
            hot = MakeHot(_weights, progress);
        }
        catch
        {
            // After a device's failure the backend lives on.
            _copies?.Dispose();
            throw;
        }

        CopyTime = Stopwatch.GetElapsedTime(start);
        bool lookAhead = _options.LookAhead || (_options.Store is { LookAhead: true } && _options.ExpertFiles is not null);
        SharedExpert shared = Own(new SharedExpert([.. hot.Layers.Select(l => l.Shared)], Pool, Kernel, _options.Precision));
        _hotPath = Own(new CpuHotPath(_weights, hot, Pool, _options.Precision, Kernel, lookAhead));
        return shared;
    }

    /// <summary>The thread that calls the pool writes a part of the copies too. On several nodes that is one tied to its node, since the opener's own stays as it is.</summary>
    private HotWeights MakeHot(ModelWeights weights, Action<int, int>? progress)
    {
        if (_copies is null || Pool.NodeCount == 1)
        {
            return new HotWeights(weights, _copies, progress);
        }

        return OwnThread.Run("kimi-copies", () =>
        {
            Pool.TieCaller();
            return new HotWeights(weights, _copies, progress);
        }).GetAwaiter().GetResult();
    }
}
