// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Bench;

/// <summary>What <c>kimi bench --expert-memory</c> measures.</summary>
internal sealed record TieredRuns
{
    /// <summary>Of slots, a run each.</summary>
    public required IReadOnlyList<long> SlotBytes { get; init; }

    /// <summary>Memory for the whole process, page cache included; null for none.</summary>
    public required long? Limit { get; init; }

    /// <summary>Whether plain mapping is measured too.</summary>
    public required bool Mapped { get; init; }

    /// <summary>SVG file of the last run from slots; null for none.</summary>
    public required string? Timeline { get; init; }

    public required TieredBenchOptions How { get; init; }
}
