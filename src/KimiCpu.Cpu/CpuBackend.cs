// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

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

    /// <summary>Whether kernels may be written as machine code at run time.</summary>
    public bool AllowGeneratedCode { get; init; } = true;
}

/// <summary>A model's CPU side: its threads, kernels, hot path and routed experts. Owns them all.</summary>
internal sealed class CpuBackend : IDisposable
{
    private readonly Int8Copies? _copies;
    private readonly SharedExpert _shared;

    public CpuBackend(ModelWeights weights, CpuBackendOptions options)
    {
        Kernel = TileKernel.Best(options.AllowGeneratedCode);
        Pool = new WorkerPool(options.Threads, options.SimulatedTopology, tie: options.SimulatedTopology is null);
        Memory = new CpuMemory(Pool);
        _copies = options.Int8HotPath ? new Int8Copies(Pool) : null;
        HotWeights hot = MakeHot(weights);
        _shared = new SharedExpert([.. hot.Layers.Select(l => l.Shared)], Pool, Kernel);
        HotPath = new CpuHotPath(weights, hot, Pool, options.Precision, Kernel);
        Experts = new CpuRoutedExperts(weights, Pool, options.Precision, Kernel, _shared);
    }

    /// <summary>Bytes of the 8-bit copies; 0 without.</summary>
    public long CopiedBytes => _copies?.TotalBytes ?? 0;

    /// <summary>Stored bytes that the copies replace.</summary>
    public long ReplacedBytes => _copies?.ReplacedBytes ?? 0;

    public WorkerPool Pool { get; }

    /// <summary>What the pool's threads get out of main memory.</summary>
    public CpuMemory Memory { get; }

    public TileKernel Kernel { get; }

    public CpuHotPath HotPath { get; }

    public CpuRoutedExperts Experts { get; }

    public void Dispose()
    {
        Experts.Dispose();
        HotPath.Dispose();
        _shared.Dispose();
        _copies?.Dispose();
        Pool.Dispose();
    }

    /// <summary>The thread that calls the pool writes a part of the copies too. On several nodes that is one tied to its node, since the opener's own stays as it is.</summary>
    private HotWeights MakeHot(ModelWeights weights)
    {
        if (_copies is null || Pool.NodeCount == 1)
        {
            return new HotWeights(weights, _copies);
        }

        return Task.Factory.StartNew(
            () =>
            {
                Pool.TieCaller();
                return new HotWeights(weights, _copies);
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default).GetAwaiter().GetResult();
    }
}
