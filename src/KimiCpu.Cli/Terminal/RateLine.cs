// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Terminal;

/// <summary>The line below an answer: how fast it came, and how near that is to what the memory allows, where it is known.</summary>
internal static class RateLine
{
    public static string Of(GenerationResult result)
    {
        GenerationTimings timings = result.Timings;
        string memory = timings.MemoryBandwidthShare is { } share
            ? string.Create(CultureInfo.InvariantCulture, $", {timings.DecodeBytesPerSecond / 1e9:F1} GB/s, {share:F2} of memory")
            : "";
        double driveRate = timings.DecodeDriveBytesPerToken * timings.DecodeTokensPerSecond;
        string drive = driveRate > 0
            ? string.Create(CultureInfo.InvariantCulture, $", {timings.DecodeDriveBytesPerToken / 1e6:F1} MB each from the drive at {driveRate / 1e9:F2} GB/s")
            : "";
        string cached = result.Usage.CachedTokens > 0 ? $", {result.Usage.CachedTokens} cached, the rest" : "";
        return $"({result.Usage.CompletionTokens} tokens, {Rate(timings.DecodeTokensPerSecond)} tokens/s{memory}{drive}; prompt {result.Usage.PromptTokens}{cached} at {Rate(timings.PrefillTokensPerSecond)}/s)";
    }

    /// <summary>Why <see cref="Of"/> says nothing of the memory; null where it does, or where nothing was decoded.</summary>
    /// <param name="result">The answer.</param>
    /// <param name="bandwidth">Of the memory; null where it could not be measured.</param>
    public static string? WhyNoShare(GenerationResult result, double? bandwidth) =>
        result.Timings.MemoryBandwidthShare is not null || result.Timings.DecodeBytesPerSecond == 0 ? null
        : bandwidth is null ? "(The memory's share is not shown: there was too little free memory to measure its bandwidth.)"
        : "(The memory's share is not shown: what a token reads fits the CPU's caches.)";

    /// <summary>Large models decode so slowly that the digit behind the point matters.</summary>
    private static string Rate(double perSecond) => perSecond.ToString(perSecond < 20 ? "F1" : "F0", CultureInfo.InvariantCulture);
}
