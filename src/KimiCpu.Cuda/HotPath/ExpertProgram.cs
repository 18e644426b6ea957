// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.HotPath;

/// <summary>Puts the kernels of routed experts on the GPU into the stream: for few tokens those that look experts up themselves, for many the tensor cores, an expert at a time.</summary>
internal sealed class ExpertProgram(ModelShape shape, DeviceWeights weights, KernelSet kernels, Workspace memory, HandOver handOver, CudaStream stream, int manyRows, ExpertWork work, HotExperts? held)
{
    public ExpertWork Work => work;

    /// <summary>Whether a pass of so many tokens has them on the tensor cores, by <see cref="PromptExperts"/>; never one that is recorded.</summary>
    public bool TakesMany(int rows) => rows > CudaHotPath.GraphRows && rows >= manyRows;

    /// <summary>Whether a layer of a pass of so many tokens adds anything to what its shared expert gives.</summary>
    public bool Adds(int rows) => held is not null || TakesMany(rows);

    /// <summary>Whether nothing else overwrites the output that <see cref="PutMany"/> adds to.</summary>
    public bool NeedsClearing(int layer) => weights.Layers[layer].Shared is null;

    /// <summary>Adds those that the GPU holds to the shared expert's output, or takes its place.</summary>
    public void PutFew(int layer, int rows)
    {
        if (held is null)
        {
            return;
        }

        kernels.RoundForExperts(stream, rows, new ExpertRoundArguments
        {
            Residual = memory.Residual,
            Gain = weights.Layers[layer].PostAttentionNorm.Pointer,
            Ids = handOver.Experts,
            Weights = handOver.Weights,
            SlotOf = held.SlotsOf(layer),
            Slots = work.PairSlots,
            SlotWeights = work.PairWeights,
            Rounded = work.Rounded,
            Size = (uint)shape.HiddenSize,
            Chosen = (uint)shape.ExpertsPerToken,
            Epsilon = shape.NormEpsilon,
        });
        kernels.ExpertGateUp(stream, new ExpertGateUpArguments
        {
            Experts = held.Slots,
            Slots = work.PairSlots,
            Rounded = work.Rounded,
            Inner = work.Inner,
            Pairs = (uint)(rows * shape.ExpertsPerToken),
            Chosen = (uint)shape.ExpertsPerToken,
            Size = (uint)shape.HiddenSize,
            InnerSize = (uint)shape.ExpertIntermediateSize,
        });
        kernels.ExpertDown(stream, rows, new ExpertDownArguments
        {
            Experts = held.Slots,
            Slots = work.PairSlots,
            SlotWeights = work.PairWeights,
            Inner = work.Inner,
            Output = memory.Shared,
            Chosen = (uint)shape.ExpertsPerToken,
            Size = (uint)shape.HiddenSize,
            InnerSize = (uint)shape.ExpertIntermediateSize,
            Accumulate = NeedsClearing(layer) ? 0u : 1,
        });
    }

    /// <summary>Before the first <see cref="PutMany"/> of a layer: rounds the rows, and clears the output where no shared expert has written it.</summary>
    public void BeginMany(int layer, int rows)
    {
        if (NeedsClearing(layer))
        {
            stream.Clear(memory.Shared, (long)rows * shape.HiddenSize * sizeof(float));
        }

        kernels.RoundForExpertGemm(stream, rows, new ExpertGemmRoundArguments
        {
            Residual = memory.Residual,
            Gain = weights.Layers[layer].PostAttentionNorm.Pointer,
            Rounded = work.Rounded,
            Size = (uint)shape.HiddenSize,
            Epsilon = shape.NormEpsilon,
        });
    }

    /// <summary>Adds one expert for its tokens to the output.</summary>
    /// <param name="expert">Where it lies.</param>
    /// <param name="first">Its first pair in <see cref="ExpertWork.PairTokens"/>.</param>
    /// <param name="count">Its pairs.</param>
    public void PutMany(ExpertSlotsArguments expert, int first, int count)
    {
        ulong tokens = work.PairTokens + ((ulong)first * sizeof(uint));
        ulong inner = work.Inner + ((ulong)first * (ulong)KernelSet.RoundedBytes(shape.ExpertIntermediateSize));
        kernels.ExpertGemmGateUp(stream, new ExpertGemmGateUpArguments
        {
            Expert = expert,
            Tokens = tokens,
            Rounded = work.Rounded,
            Inner = inner,
            Count = (uint)count,
            Size = (uint)shape.HiddenSize,
            InnerSize = (uint)shape.ExpertIntermediateSize,
        });
        kernels.ExpertGemmDown(stream, new ExpertGemmDownArguments
        {
            Expert = expert,
            Tokens = tokens,
            Weights = work.PairWeights + ((ulong)first * sizeof(float)),
            Inner = inner,
            Output = memory.Shared,
            Count = (uint)count,
            Size = (uint)shape.HiddenSize,
            InnerSize = (uint)shape.ExpertIntermediateSize,
        });
    }
}
