// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Weights;

/// <summary>Memory for one tensor, filled while somebody holds it. The only owner of it. Safe for several threads.</summary>
internal sealed unsafe class ResidentTensor : IDisposable
{
    /// <summary>Of one read; who ends it waits no longer. As small as the store's, so that slow drives answer in time.</summary>
    private const int PieceBytes = 4 << 20;

    private readonly IWeightFiles _files;
    private readonly TensorEntry _entry;
    private readonly DrivePatience _patience;
    private readonly long _first;
    private readonly long _length;
    private readonly AlignedBuffer<byte> _memory;
    private readonly Lock _reading = new();
    private Task _read = Task.CompletedTask;
    private volatile bool _isGivenUp;
    private long _done;
    private int _holders;

    /// <param name="files">To read from.</param>
    /// <param name="entry">The tensor.</param>
    /// <param name="patience">With the drives.</param>
    public ResidentTensor(IWeightFiles files, TensorEntry entry, DrivePatience patience)
    {
        (_files, _entry, _patience) = (files, entry, patience);

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
    /// <exception cref="CheckpointException">The drive fails or does not answer, or the file was changed.</exception>
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

    /// <summary>Waits for nobody. Memory that a drive may still write to is left to the end of the process.</summary>
    public void Dispose()
    {
        if (!_read.IsCompleted)
        {
            _memory.Abandon();
        }

        _memory.Dispose();
    }

    /// <summary>By a thread of its own, which is left behind where a drive does not answer.</summary>
    private void Read(CancellationToken cancellationToken)
    {
        if (!_read.IsCompleted)
        {
            throw Failure(_patience.Problem, null);
        }

        byte* begin = Begin;
        _isGivenUp = false;
        _read = OwnThread.Run("kimi-read", () => ReadTo(begin, cancellationToken));
        if (!_patience.TryWait(_read))
        {
            _isGivenUp = true;
            throw Failure(_patience.Problem, null);
        }

        _read.GetAwaiter().GetResult();
    }

    /// <param name="begin">As it was when the read began: it is given up without being freed where the tensor is disposed of before the read has ended.</param>
    /// <param name="cancellationToken">Ends it with the piece that is being read.</param>
    private bool ReadTo(byte* begin, CancellationToken cancellationToken)
    {
        try
        {
            for (long at = 0; at < _length; at += PieceBytes)
            {
                ThrowIfUnwanted();
                Volatile.Write(ref _done, at);
                _files.Read(_entry.Shard, _first + at, begin + at, (int)Math.Min(PieceBytes, _length - at));
                _patience.NoteAnswer();
            }

            ThrowIfUnwanted();
            return true;
        }
        catch (Exception e)
        {
            HugePages.GiveBack(begin, (nuint)_length);
            if (e is IOException)
            {
                throw Failure(e.Message, e);
            }

            throw;
        }

        void ThrowIfUnwanted()
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (_isGivenUp)
            {
                throw new OperationCanceledException("Whoever wanted the weight has given up.");
            }
        }
    }

    private Exception Failure(string problem, Exception? cause) =>
        _files.Failure(_entry.Shard, _entry.Name, Math.Max(_first + Volatile.Read(ref _done), _entry.Offset), problem, cause);
}
