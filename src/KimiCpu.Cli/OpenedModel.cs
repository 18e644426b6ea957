// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Cli;

/// <summary>A checkpoint with its forward pass and nothing above it, for measuring and verifying; needs no tokenizer.</summary>
internal sealed class OpenedModel : IDisposable
{
    private readonly CpuRoutedExperts _experts;

    /// <param name="folder">Null for the embedded model.</param>
    /// <param name="precision">How activations and cache are rounded.</param>
    /// <param name="threads">Null for one per physical core.</param>
    public OpenedModel(string? folder, ComputePrecision precision, int? threads)
    {
        Checkpoint = folder is null ? Checkpoint.Open(KimiModel.EmbeddedFiles) : Checkpoint.Open(folder);
        try
        {
            Weights = WeightLoader.Load(Checkpoint);
        }
        catch
        {
            Checkpoint.Dispose();
            throw;
        }

        Pool = new WorkerPool(threads);
        HotPath = new CpuHotPath(Weights, Pool, precision);
        _experts = new CpuRoutedExperts(Weights, Pool, precision);
        Forward = new ForwardPass(Weights, HotPath, _experts);
    }

    public Checkpoint Checkpoint { get; }

    public ModelWeights Weights { get; }

    public WorkerPool Pool { get; }

    public CpuHotPath HotPath { get; }

    public ForwardPass Forward { get; }

    public void Dispose()
    {
        _experts.Dispose();
        HotPath.Dispose();
        Pool.Dispose();
        Checkpoint.Dispose();
    }
}
