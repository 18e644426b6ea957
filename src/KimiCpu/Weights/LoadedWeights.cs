// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Weights;

/// <summary>
/// A checkpoint's weights, where the plan puts them: all in the mapping; or the routed experts in files that a store reads
/// from, and everything else in memory of its own, the embedding from the beginning and the rest while somebody holds it. Owns that memory and those files; the checkpoint stays the caller's.
/// </summary>
internal sealed class LoadedWeights : IDisposable
{
    private readonly IWeightFiles? _files;
    private readonly ResidentTensors? _resident;
    private readonly MappingWatch? _watch;

    /// <param name="checkpoint">Stays open as long as the weights are used.</param>
    /// <param name="plan">Where the experts go.</param>
    /// <param name="progress">Told after every layer: layers done, layers in all. Not where they are read later, by who holds them.</param>
    /// <param name="guard">Whether pages of the mapping that cannot be read are to be noticed by <see cref="ThrowIfFaulted"/> instead of ending the process.</param>
    /// <param name="wrap">Puts something between the readers and the files; for tests.</param>
    /// <exception cref="CheckpointException">A tensor is missing, does not match the configuration, or cannot be read.</exception>
    public LoadedWeights(Checkpoint checkpoint, ExpertMemoryPlan plan, Action<int, int>? progress = null, bool guard = false, Func<IWeightFiles, IWeightFiles>? wrap = null)
    {
        if (plan.SlotBytes is not null)
        {
            CheckpointWeightFiles files = CheckpointWeightFiles.Open(checkpoint);
            (DriveCount, IsDirect) = (files.DrivesUsed.Count, files.IsDirect);
            _files = wrap?.Invoke(files) ?? files;
        }

        _resident = _files is null ? null : new ResidentTensors(_files);
        _watch = _files is null && guard ? new MappingWatch(checkpoint) : null;
        try
        {
            Model = WeightLoader.Load(checkpoint, _resident is null ? progress : null, _resident);
            _resident?.Hold(Model.Embedding);
            ExpertFiles = _files is null ? null : ExpertPlaces.Of(checkpoint, Model.Shape, _files);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public ModelWeights Model { get; }

    /// <summary>Where a store reads the experts from; null where they are used in the mapping.</summary>
    public ExpertFiles? ExpertFiles { get; }

    /// <summary>Drives that the experts are read from.</summary>
    public int DriveCount { get; }

    /// <summary>Whether reads go past the page cache.</summary>
    public bool IsDirect { get; }

    /// <exception cref="CheckpointException">A page of the mapping could not be read since it was opened.</exception>
    public void ThrowIfFaulted() => _watch?.ThrowIfFaulted();

    /// <summary>Bytes of weights in memory of their own; 0 where all are mapped.</summary>
    public long ResidentBytes => _resident?.Bytes ?? 0;

    public void Dispose()
    {
        _watch?.Dispose();
        _resident?.Dispose();
        _files?.Dispose();
    }
}
