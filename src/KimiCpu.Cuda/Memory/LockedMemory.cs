// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Weights;

namespace KimiCpu.Cuda.Memory;

/// <summary>Bytes of page-locked main memory that a hot path takes, for plans of GPUs whose driver charges them to the GPU. Of the smallest blocks some are counted that are not there.</summary>
internal static class LockedMemory
{
    /// <summary>Whatever the plan, all but page tables: embeddings, hidden rows and routed sums, choices of experts, logits, inputs of a step, the buffers of the opening, and the page of the cache that is copied for a session's file.</summary>
    public static long OfSteps(ModelShape shape, int maxRows, bool lookAhead, long pageBytes)
    {
        long hidden = 3L * maxRows * shape.HiddenSize * sizeof(float);
        long choices = (lookAhead ? 3L : 2) * Math.Max(1, (long)maxRows * shape.ExpertsPerToken) * sizeof(int);
        long logits = ((long)Workspace.LogitRows * shape.VocabularySize * sizeof(float)) + (2L * maxRows * sizeof(uint)) + sizeof(uint);
        return hidden + choices + logits + StepInputs.DeviceBytes(shape, maxRows, 0) + WeightUploader.LockedBytes + pageBytes;
    }

    /// <summary>Of one cache page: its entries in the page tables.</summary>
    public static long OfPage(int maxRows) => (long)maxRows * sizeof(uint);

    /// <summary>Where the GPU computes any routed experts: which tokens are whose, where experts are, and the buffer that one is gathered in.</summary>
    public static long OfExperts(ModelShape shape, int maxRows, ExpertSlotLayout layout) =>
        (2L * maxRows * shape.ExpertsPerToken * sizeof(uint)) + HotExperts.TableBytes(shape) + layout.Bytes;

    /// <summary>Of the ring that experts pass through.</summary>
    public static long OfRing(ExpertSlotLayout layout) => ExpertRing.Slots * layout.Bytes;
}
