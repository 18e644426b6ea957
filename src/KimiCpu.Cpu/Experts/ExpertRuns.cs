// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// Passes take items of one matrix that follow each other together: memory is read at its full rate in long stretches
/// only, and each jump costs about a microsecond, which asking for its target ahead does not save. One core of Zen 5, a
/// layer of 8 experts with 2048 · 1024 columns of INT4: stretches of 18 and 37 KB ran at 0.51 of the bandwidth, eight
/// times as long at 0.75, 32 times at 0.83.
/// </summary>
internal static class ExpertRuns
{
    /// <summary>Blocks of 32 rows, or of fewer where a product takes fewer at a time.</summary>
    public const int MostItems = 32;

    /// <summary>The sums of a run's rows stay in the second-level cache from expert to expert, up to so many blocks · tokens (256 KiB).</summary>
    private const int MostSums = 2048;

    /// <summary>Also where sums exceed that.</summary>
    private const int FewestItems = 8;

    /// <summary>Blocks of 32 output rows that each expert takes in turn for so many tokens, 1 or more.</summary>
    public static int MostDownItems(int tokens) => Math.Clamp(MostSums / tokens, FewestItems, MostItems);
}
