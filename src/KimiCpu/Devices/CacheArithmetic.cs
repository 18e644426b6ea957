// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cuda.Weights;

namespace KimiCpu.Devices;

/// <summary>
/// How the values of a cache are rounded, in the words that stand in saved sessions. Never reworded, whatever messages say: where a file has another text its
/// tokens are computed again, for hours where they are many.
/// </summary>
internal static class CacheArithmetic
{
    public const string Exact = "exact arithmetic";
    public const string Fast = "fast arithmetic";
    public const string FastWithCopies = "fast arithmetic and 8-bit copies";

    /// <param name="weights">What the GPU has in 8 bits.</param>
    /// <param name="smallCache">Whether the cache is in 8 bits, too.</param>
    public static string OfGpu(WeightPlan weights, bool smallCache) => $"a GPU's arithmetic, {Spelled(weights)}{(smallCache ? ", 8-bit cache" : "")}";

    private static string Spelled(WeightPlan weights) => (weights.SmallHead, weights.SmallMlps, weights.SmallAttention) switch
    {
        (false, false, false) => "all weights as stored",
        (true, false, false) => "head in 8 bits",
        (true, true, false) => "head, dense layers and shared experts in 8 bits",
        (true, true, true) => "all weights in 8 bits",
        _ => throw new ArgumentException($"The plan of weights '{weights.Name}' has no spelling in saved sessions; give it one.", nameof(weights)),
    };
}
