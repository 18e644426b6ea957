// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>
/// What is known about the uses of a model's experts, from run to run. A tiered store begins by reading those that earlier runs used
/// most, a GPU with spare memory by holding them; the counts are left behind.
/// </summary>
internal sealed class ExpertUses
{
    private readonly ExpertStatistics? _file;
    private readonly ILogger _logger;
    private readonly UseCounts _counts;
    private readonly object _gate = new();
    private UseCounts? _leftBehind;
    private long _savedStep;
    private bool _ended;

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

    /// <summary>The counts of earlier runs, for someone else who counts from here on.</summary>
    public UseCounts Copy() => CopyOf(_counts);

    /// <summary>Whether the counts have a file.</summary>
    public bool AreKept => _file is not null;

    /// <summary>What is to be left behind instead of the store's counts: the store hears nothing of experts that a GPU holds.</summary>
    public void LeaveBehind(UseCounts counts) => _leftBehind = counts;

    /// <summary>Begins to read what was used most into free slots; returns at once.</summary>
    /// <param name="store">With the slots.</param>
    /// <param name="isElsewhere">By key: whether another device has an expert, which no step asks the store for then.</param>
    public void Warm(TieredExpertStore store, Func<int, bool> isElsewhere) =>
        store.Warm(ExpertStatistics.Hottest(_counts, _counts.Keys).Where(key => !isElsewhere(key)).Take(store.Slots));

    /// <summary>The counts as they are now, for <see cref="Save(UseCounts)"/>; null where no expert was used since the last time. For the thread that uses the experts, between steps.</summary>
    public UseCounts? TakeChanges()
    {
        UseCounts counts = _leftBehind ?? _counts;
        if (counts.Step == _savedStep)
        {
            return null;
        }

        _savedStep = counts.Step;
        return CopyOf(counts);
    }

    /// <summary>Leaves counts behind that were taken while the experts are used; nothing where they are not used any more, since others have been left behind then. Callable from any thread.</summary>
    public void Save(UseCounts taken)
    {
        lock (_gate)
        {
            if (!_ended)
            {
                Write(taken);
            }
        }
    }

    /// <summary>When the experts are not used any more.</summary>
    public void Save()
    {
        lock (_gate)
        {
            _ended = true;
            Write(_leftBehind ?? _counts);
        }
    }

    private static UseCounts CopyOf(UseCounts counts)
    {
        var values = new double[counts.Keys];
        counts.Export(values);
        var copy = new UseCounts(counts.Keys, EvictionPolicies.DefaultHalfLife);
        copy.Import(values, counts.Most);
        return copy;
    }

    private void Write(UseCounts counts)
    {
        if (_file?.Save(counts) is { } problem)
        {
            KimiLog.UsesUnknown(_logger, problem);
        }
    }
}
