// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>
/// Passes take items of one matrix that follow each other together: memory is read at its full rate in long stretches
/// only, and each jump costs about its latency. One core of Zen 5, rows of 576 bytes, 8 experts in turn: 18 KB of each at a
/// time ran at 0.65 of the bandwidth, 74 KB at 0.75, 300 KB at 0.83.
/// </summary>
internal static class ExpertRuns
{
    /// <summary>Blocks of 32 rows.</summary>
    public const int MostItems = 8;
}
