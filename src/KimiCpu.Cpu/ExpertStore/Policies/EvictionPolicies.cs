// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu.Cpu;

/// <summary>The policies by name, as <c>lru</c>, <c>lfu:200</c>; the number is the half-life of uses in steps.</summary>
internal static class EvictionPolicies
{
    /// <summary>Never far from the best of the policies; see docs/expert-store.md.</summary>
    public const string Default = "hybrid";

    /// <summary>Steps after which a use counts half, where a name does not say.</summary>
    public const double DefaultHalfLife = 1000;

    /// <summary>Of <see cref="FrequencyAndRecency"/>: steps without a use that weigh as much as half of the uses.</summary>
    private const double RecencyHalfLife = 50;

    public static IReadOnlyList<string> Names { get; } = ["lru", "lfu", "hybrid", "wait"];

    /// <param name="text">NAME or NAME:HALF-LIFE.</param>
    /// <param name="layers">Of the model.</param>
    /// <param name="expertsPerLayer">Keys of a layer.</param>
    /// <param name="counts">Of earlier uses, in place of new ones; their half-life is then what counts.</param>
    /// <exception cref="FormatException">There is no such policy.</exception>
    public static IEvictionPolicy Make(string text, int layers, int expertsPerLayer, UseCounts? counts = null)
    {
        string[] parts = text.Split(':');
        double halfLife = DefaultHalfLife;
        if (parts.Length > 2 || !Names.Contains(parts[0]) || (parts.Length == 2 && !IsHalfLife(parts[1], out halfLife)))
        {
            throw new FormatException($"A policy is one of {string.Join(", ", Names)}, with a half-life in steps after a colon if wanted, such as lfu:200; found '{text}'.");
        }

        int keys = layers * expertsPerLayer;
        counts ??= new UseCounts(keys, halfLife);
        return parts[0] switch
        {
            "lru" => new LeastRecentlyUsed(keys),
            "lfu" => new LeastFrequentlyUsed(counts),
            "hybrid" => new FrequencyAndRecency(counts, RecencyHalfLife),
            _ => new ExpectedWait(counts, layers, expertsPerLayer),
        };
    }

    private static bool IsHalfLife(string text, out double halfLife) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out halfLife) && halfLife is > 0 and < 1e15;
}
