// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Weights;

/// <summary>Memory for one tensor, filled while somebody holds it. The only owner of it. Safe for several threads.</summary>
internal sealed unsafe class ResidentTensor : IDisposable
{
    /// <summary>Of one read; who ends it waits no longer.</summary>
    private const int PieceBytes = 16 << 20;

    private readonly IWeightFiles _files;
    private readonly TensorEntry _entry;
    private readonly long _first;
    private readonly long _length;
    private readonly AlignedBuffer<byte> _memory;
    private readonly Lock _reading = new();
    private int _holders;

    /// <param name="files">To read from.</param>
    /// <param name="entry">The tensor.</param>
    public ResidentTensor(IWeightFiles files, TensorEntry entry)
    {
        (_files, _entry) = (files, entry);

        // Reads begin and end at multiples of the alignment, in the file and in memory.
        _first = entry.Offset / IWeightFiles.Alignment * IWeightFiles.Alignment;
        _length = (entry.Offset + entry.Length - _first + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment;
        _memory = new AlignedBuffer<byte>(_length + IWeightFiles.Alignment);
    }

    /// <summary>First byte of the tensor.</summary>
    public byte* Pointer => Begin + (_entry.Offset - _first);

    /// <summary>In memory now.</summary>
    public long Bytes => Volatile.Read(ref _holders) > 0 ? _length : 0;

    private byte* Begin => (byte*)(((nuint)_memory.Pointer + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment);

    /// <summary>Reads the tensor where nobody has held it; others wait meanwhile.</summary>
    /// <exception cref="CheckpointException">The drive fails, or the file was changed.</exception>
    /// <exception cref="OperationCanceledException">It is not wanted any more.</exception>
    public void Hold(CancellationToken cancellationToken)
    {
        lock (_reading)
        {
            if (_holders == 0)
            {
                Read(cancellationToken);
            }

            _holders++;
        }
    }

    public void LetGo()
    {
        lock (_reading)
        {
            if (_holders == 0)
            {
                throw new InvalidOperationException($"Nobody holds {_entry.Name}.");
            }

            if (--_holders == 0)
            {
                HugePages.GiveBack(Begin, (nuint)_length);
            }
        }
    }

    public void Dispose() => _memory.Dispose();

    private void Read(CancellationToken cancellationToken)
    {
        long at = 0;
        try
        {
            for (; at < _length; at += PieceBytes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                _files.Read(_entry.Shard, _first + at, Begin + at, (int)Math.Min(PieceBytes, _length - at));
            }
        }
        catch (Exception e)
        {
            HugePages.GiveBack(Begin, (nuint)_length);
            if (e is IOException)
            {
                throw _files.Failure(_entry.Shard, _entry.Name, Math.Max(_first + at, _entry.Offset), e.Message, e);
            }

            throw;
        }
    }
}
