// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Routing;

/// <summary>How a cache of some size did on a trace, over the counted passes.</summary>
internal sealed record SimulationResult
{
    /// <summary>The name of <see cref="BeladyOptimum"/>, beside those of the policies.</summary>
    public const string Belady = "belady";

    public required string Policy { get; init; }

    /// <summary>Experts that there is room for.</summary>
    public required int Slots { get; init; }

    /// <summary>Slots per expert of the model.</summary>
    public required double ResidentShare { get; init; }

    /// <summary>Experts that layers needed.</summary>
    public required long Accesses { get; init; }

    /// <summary>Of these, those that nothing was read for.</summary>
    public required long Hits { get; init; }

    /// <summary>Of these, those whose reading look-ahead began one layer earlier.</summary>
    public required long Foreseen { get; init; }

    /// <summary>Reads that look-ahead began and nobody needed.</summary>
    public required long InVain { get; init; }

    public required int Tokens { get; init; }

    public required long ExpertBytes { get; init; }

    /// <summary>Experts whose reading began only when they were needed.</summary>
    public long Misses => Accesses - Hits - Foreseen;

    public double HitRate => (double)Hits / Accesses;

    public double MissesPerToken => (double)Misses / Tokens;

    /// <summary>Bytes read for a token, whoever began it.</summary>
    public double BytesPerToken => (double)(Misses + Foreseen + InVain) * ExpertBytes / Tokens;
}
