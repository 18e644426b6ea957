// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>
/// What a tiered store knows about the uses of its experts, from run to run: it begins by reading those that earlier runs used
/// most, and leaves its counts behind.
/// </summary>
internal sealed class ExpertUses
{
    private readonly ExpertStatistics? _file;
    private readonly ILogger _logger;
    private readonly UseCounts _counts;

    /// <param name="shape">Of the model.</param>
    /// <param name="file">Of the model; null for nowhere.</param>
    /// <param name="logger">Told what could not be read or written.</param>
    public ExpertUses(ModelShape shape, ExpertStatistics? file, ILogger logger)
    {
        _file = file;
        _logger = logger;
        _counts = new UseCounts(shape.LayerCount * shape.ExpertCount, EvictionPolicies.DefaultHalfLife);
        if (file?.Load(_counts) is { } problem)
        {
            KimiLog.UsesUnknown(logger, problem);
        }
    }

    /// <summary>Orders experts by these counts.</summary>
    public IEvictionPolicy Policy(int layers, int expertsPerLayer) => EvictionPolicies.Make(EvictionPolicies.Default, layers, expertsPerLayer, _counts);

    /// <summary>Begins to read what was used most into free slots; returns at once.</summary>
    public void Warm(TieredExpertStore store) => store.Warm(ExpertStatistics.Hottest(_counts, store.Slots));

    /// <summary>When the store is not used any more.</summary>
    public void Save()
    {
        if (_file?.Save(_counts) is { } problem)
        {
            KimiLog.UsesUnknown(_logger, problem);
        }
    }
}
