// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Experts;

/// <summary>Where the activations of the experts on the GPU lie in one allocation. A pair is a token with one of its experts.</summary>
internal sealed class ExpertWork
{
    private readonly DeviceLayout _layout = new();

    /// <param name="shape">Of the model.</param>
    /// <param name="maxRows">Most tokens of a pass.</param>
    public ExpertWork(ModelShape shape, int maxRows)
    {
        long pairs = (long)maxRows * shape.ExpertsPerToken;
        _layout.Add(maxRows * (long)KernelSet.RoundedBytes(shape.HiddenSize), p => Rounded = p);
        _layout.Add(pairs * KernelSet.RoundedBytes(shape.ExpertIntermediateSize), p => Inner = p);
        _layout.Add(pairs * sizeof(uint), p => PairSlots = p);
        _layout.Add(pairs * sizeof(uint), p => PairTokens = p);
        _layout.Add(pairs * sizeof(float), p => PairWeights = p);
    }

    /// <summary>Of the allocation.</summary>
    public long Bytes => _layout.Bytes;

    /// <summary>(rows) rounded hidden rows.</summary>
    public ulong Rounded { get; private set; }

    /// <summary>(pairs) rounded inner rows.</summary>
    public ulong Inner { get; private set; }

    /// <summary>(pairs) where each chosen expert is, in passes of few tokens.</summary>
    public ulong PairSlots { get; private set; }

    /// <summary>(pairs) the row of each, sorted by experts, in passes of many tokens.</summary>
    public ulong PairTokens { get; private set; }

    /// <summary>(pairs) factors.</summary>
    public ulong PairWeights { get; private set; }

    /// <summary>Called once, when the allocation is made.</summary>
    public void Place(ulong address) => _layout.Place(address);
}
