// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cpu.Faults;

namespace KimiCpu.Weights;

/// <summary>Notices that pages of a checkpoint's mappings could not be read. Until the model is opened anew, nothing that was computed since can be trusted.</summary>
internal sealed unsafe class MappingWatch : IDisposable
{
    private readonly Checkpoint _checkpoint;
    private readonly FaultGuard?[] _guards;

    /// <param name="checkpoint">Closed after this is disposed.</param>
    public MappingWatch(Checkpoint checkpoint)
    {
        _checkpoint = checkpoint;
        _guards = checkpoint.Files.AreOnDrive ? [.. checkpoint.Shards.Select((_, i) => FaultGuard.Watch(checkpoint.MappingOf(i).Pointer, checkpoint.MappingOf(i).Length))] : [];
    }

    /// <exception cref="CheckpointException">A page could not be read since the checkpoint was opened.</exception>
    public void ThrowIfFaulted()
    {
        for (int shard = 0; shard < _guards.Length; shard++)
        {
            if (_guards[shard]?.FaultOffset is { } offset)
            {
                string? tensor = _checkpoint.Tensors.Values.FirstOrDefault(t => t.Shard == shard && t.Offset <= offset && offset < t.Offset + t.Length)?.Name;
                throw new CheckpointException(
                    _checkpoint.Files.PathOf(_checkpoint.Shards[shard]),
                    tensor,
                    $"The file cannot be read at byte {offset:N0}: it was cut or changed while it was open, or its drive fails.",
                    "Check the drive and the file (`kimi verify`), then open the model again.");
            }
        }
    }

    public void Dispose() => Array.ForEach(_guards, g => g?.Dispose());
}
