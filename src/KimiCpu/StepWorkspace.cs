// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu;

/// <summary>Memory that a step takes beside weights and cache, on a CPU.</summary>
/// <param name="Shape">Of the model.</param>
/// <param name="Threads">That compute.</param>
/// <param name="Exact">Whether the cache is in F32, and long prompts attend as short ones do.</param>
internal readonly record struct StepWorkspace(ModelShape Shape, int Threads, bool Exact = false)
{
    /// <summary>Activations of a token: rows of the residual, of all heads, and of all experts that it chose.</summary>
    public long BytesPerToken
    {
        get
        {
            long rows = 6L * Shape.HiddenSize;
            long heads = (long)Shape.HeadCount * (Shape.NopeHeadSize + Shape.RopeHeadSize + Shape.ValueHeadSize + Shape.CacheWidth + Shape.KeyValueLoraRank);
            long experts = (long)Shape.ExpertsPerToken * (Shape.HiddenSize + (2L * Shape.ExpertIntermediateSize));
            return sizeof(float) * (rows + heads + experts);
        }
    }

    /// <summary>Of a step with so many tokens, all of which may be of one sequence.</summary>
    public long Bytes(int tokens) => (tokens * BytesPerToken) + (Exact ? 0 : Threads * PromptAttention.BytesOfThread(Shape, tokens));

    /// <summary>Tokens of the largest step that takes no more than so many bytes.</summary>
    public int MostTokens(long bytes)
    {
        int fits = 0, tooMany = (int)Math.Min(bytes / BytesPerToken, int.MaxValue - 1) + 1;
        while (tooMany - fits > 1)
        {
            int middle = fits + ((tooMany - fits) / 2);
            (fits, tooMany) = Bytes(middle) <= bytes ? (middle, tooMany) : (fits, middle);
        }

        return fits;
    }
}
