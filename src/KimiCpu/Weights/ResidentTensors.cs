// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>
/// Tensors in memory of their own, in huge pages, while somebody holds them: where the page cache is not to be relied on, because the system
/// would take pages back for experts, or because a failing drive must cost an exception and not the process. Owns the memory.
/// </summary>
/// <param name="files">To read from; stay the caller's.</param>
/// <param name="patience">How long drives may be silent while somebody waits for a tensor; null for as long as they may in a step.</param>
internal sealed unsafe class ResidentTensors(IWeightFiles files, TimeSpan? patience = null) : IWeightResidence, IDisposable
{
    private readonly DrivePatience _patience = new(patience ?? DrivePatience.Default);
    private readonly Dictionary<string, ResidentTensor> _byName = [];
    private readonly Dictionary<nint, ResidentTensor> _byAddress = [];

    /// <summary>Bytes of the tensors that are there.</summary>
    public long Bytes
    {
        get
        {
            lock (_byName)
            {
                return _byName.Values.Sum(t => t.Bytes);
            }
        }
    }

    /// <summary>Where a tensor will be while it is held; on Linux it takes address space and no memory, on Windows what the system promises. Valid until all are disposed. Safe for several threads.</summary>
    public byte* Place(TensorEntry entry)
    {
        lock (_byName)
        {
            if (!_byName.TryGetValue(entry.Name, out ResidentTensor? tensor))
            {
                tensor = new ResidentTensor(files, entry, _patience);
                _byName.Add(entry.Name, tensor);
                _byAddress.Add((nint)tensor.Pointer, tensor);
            }

            return tensor.Pointer;
        }
    }

    /// <exception cref="CheckpointException">The drive fails or does not answer, or the file was changed.</exception>
    public void Hold(WeightMatrix weight, CancellationToken cancellationToken = default)
    {
        ResidentTensor data = Of(weight.Data);
        data.Hold(cancellationToken);
        if (weight.Scales == null)
        {
            return;
        }

        try
        {
            Of(weight.Scales).Hold(cancellationToken);
        }
        catch
        {
            data.LetGo();
            throw;
        }
    }

    public void LetGo(WeightMatrix weight)
    {
        Of(weight.Data).LetGo();
        if (weight.Scales != null)
        {
            Of(weight.Scales).LetGo();
        }
    }

    public void Dispose()
    {
        lock (_byName)
        {
            foreach (ResidentTensor tensor in _byName.Values)
            {
                tensor.Dispose();
            }

            _byName.Clear();
            _byAddress.Clear();
        }
    }

    private ResidentTensor Of(byte* address)
    {
        lock (_byName)
        {
            return _byAddress[(nint)address];
        }
    }
}
