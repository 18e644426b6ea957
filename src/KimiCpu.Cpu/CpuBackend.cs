// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Cpu;

/// <summary>How the CPU computes.</summary>
internal sealed record CpuBackendOptions
{
    public ComputePrecision Precision { get; init; } = ComputePrecision.Fast;

    /// <summary>Null for one per physical core.</summary>
    public int? Threads { get; init; }

    /// <summary>Whether kernels may be written as machine code at run time.</summary>
    public bool AllowGeneratedCode { get; init; } = true;
}

/// <summary>A model's CPU side: its threads, kernels, hot path and routed experts. Owns them all.</summary>
internal sealed class CpuBackend : IDisposable
{
    public CpuBackend(ModelWeights weights, CpuBackendOptions options)
    {
        Kernel = TileKernel.Best(options.AllowGeneratedCode);
        Pool = new WorkerPool(options.Threads);
        HotPath = new CpuHotPath(weights, Pool, options.Precision);
        Experts = new CpuRoutedExperts(weights, Pool, options.Precision, Kernel);
    }

    public WorkerPool Pool { get; }

    public TileKernel Kernel { get; }

    public CpuHotPath HotPath { get; }

    public CpuRoutedExperts Experts { get; }

    public void Dispose()
    {
        Experts.Dispose();
        HotPath.Dispose();
        Pool.Dispose();
    }
}
