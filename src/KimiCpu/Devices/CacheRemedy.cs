// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;
using KimiCpu.Model;

namespace KimiCpu.Devices;

/// <summary>What a user can do for a larger cache on a GPU, where it has what all else leaves of the memory and a budget only takes from that.</summary>
internal static class CacheRemedy
{
    /// <param name="plan">Of the GPU's memory.</param>
    /// <param name="options">Of the model.</param>
    /// <returns>As <see cref="KvCache.MoreRoom"/> has it.</returns>
    public static string Of(MemoryPlan plan, KimiModelOptions options)
    {
        long page = plan.CacheBytes / plan.Pages;
        if (options.KvCacheBytes is { } most && most - plan.CacheBytes < page)
        {
            return KvCache.LargerBudget;
        }

        List<string> ways = [];
        bool smallWeights = plan.Weights == WeightPlan.All[^1];
        if (options.ContextLength is null && !(smallWeights && plan.CacheFormat == CacheFormat.Int8))
        {
            ways.Add("set KimiModelOptions.ContextLength to the tokens that are needed (weights, and at last the cache, are kept in 8 bits for them)");
        }
        else if (!smallWeights)
        {
            ways.Add("set KimiModelOptions.Int8HotPath");
        }

        if (plan.ExpertBytes + plan.RingBytes > 0)
        {
            ways.Add("lower KimiModelOptions.GpuExpertBytes");
        }

        ways.Add("open the model with more of the GPU's memory free");
        return string.Join(", or ", ways);
    }
}
