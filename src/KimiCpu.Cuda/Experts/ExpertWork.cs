// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Experts;

/// <summary>Where the activations of the experts on the GPU lie in one allocation.</summary>
internal sealed class ExpertWork
{
    /// <param name="shape">Of the model.</param>
    /// <param name="maxRows">Most tokens of a pass.</param>
    public ExpertWork(ModelShape shape, int maxRows)
    {
        var layout = new DeviceLayout();
        long pairs = (long)maxRows * shape.ExpertsPerToken;
        Rounded = layout.Add(maxRows * (long)KernelSet.RoundedBytes(shape.HiddenSize));
        Inner = layout.Add(pairs * KernelSet.RoundedBytes(shape.ExpertIntermediateSize));
        PairSlots = layout.Add(pairs * sizeof(uint));
        PairWeights = layout.AddFloats(pairs);
        Bytes = layout.Bytes;
    }

    /// <summary>(rows) rounded hidden rows.</summary>
    public long Rounded { get; }

    /// <summary>(rows, experts per token) rounded inner rows.</summary>
    public long Inner { get; }

    /// <summary>(rows, experts per token) slots.</summary>
    public long PairSlots { get; }

    /// <summary>(rows, experts per token) factors.</summary>
    public long PairWeights { get; }

    /// <summary>Of the allocation.</summary>
    public long Bytes { get; }
}
