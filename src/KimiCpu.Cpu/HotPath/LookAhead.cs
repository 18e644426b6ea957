// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Cpu;

/// <summary>
/// Room for what the next MoE layer's router thinks of the rows of this one. It shares the runs of the pool that the own
/// router takes, and nothing that results depend on.
/// </summary>
internal sealed unsafe class LookAhead(ModelShape shape, int threads) : IDisposable
{
    private readonly AlignedBuffer<float> _logits = new();
    private readonly AlignedBuffer<int> _experts = new();

    /// <summary>Factors that nobody asks for, of each thread.</summary>
    private readonly float[][] _weights = [.. Enumerable.Range(0, threads).Select(_ => new float[shape.ExpertsPerToken])];

    /// <summary>(rows, experts) of the next layer's router.</summary>
    public float* Logits => _logits.Pointer;

    /// <summary>(rows, experts per token).</summary>
    public int* Experts => _experts.Pointer;

    public void Reserve(int rows)
    {
        _logits.EnsureCapacity((long)rows * shape.ExpertCount);
        _experts.EnsureCapacity((long)rows * shape.ExpertsPerToken);
    }

    public void Route(int row, Router router, ReadOnlySpan<float> correctionBias, int worker) => router.Route(
        new ReadOnlySpan<float>(Logits + ((long)row * shape.ExpertCount), shape.ExpertCount),
        correctionBias,
        new Span<int>(Experts + ((long)row * shape.ExpertsPerToken), shape.ExpertsPerToken),
        _weights[worker]);

    public void Dispose()
    {
        _logits.Dispose();
        _experts.Dispose();
    }
}
