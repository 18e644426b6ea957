// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Weights;

/// <summary>
/// Tensors read into memory of their own, in huge pages: where the page cache is not to be relied on, because the system
/// would take pages back for experts, or because a failing drive must cost an exception and not the process. Owns the memory.
/// </summary>
internal sealed unsafe class ResidentTensors(IWeightFiles files) : IDisposable
{
    /// <summary>Of one read: cancelling and other readers wait no longer.</summary>
    private const int PieceBytes = 16 << 20;

    private readonly Dictionary<string, (AlignedBuffer<byte> Memory, long Offset)> _tensors = [];

    /// <summary>Bytes of memory in use.</summary>
    public long Bytes
    {
        get
        {
            lock (_tensors)
            {
                return _tensors.Values.Sum(t => t.Memory.Capacity);
            }
        }
    }

    /// <summary>Reads a tensor, once; safe for several threads. Valid until it is given back or all are disposed.</summary>
    /// <exception cref="CheckpointException">The drive fails, or the file was changed.</exception>
    public byte* Load(TensorEntry entry)
    {
        lock (_tensors)
        {
            if (_tensors.TryGetValue(entry.Name, out (AlignedBuffer<byte> Memory, long Offset) known))
            {
                return known.Memory.Pointer + known.Offset;
            }
        }

        // Reads begin and end at multiples of the alignment, in the file and in memory.
        long first = entry.Offset / IWeightFiles.Alignment * IWeightFiles.Alignment;
        long length = (entry.Offset + entry.Length - first + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment;
        var memory = new AlignedBuffer<byte>(length + IWeightFiles.Alignment);
        byte* target = (byte*)(((nuint)memory.Pointer + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment);
        try
        {
            for (long at = 0; at < length; at += PieceBytes)
            {
                Read(entry, first + at, target + at, (int)Math.Min(PieceBytes, length - at));
            }
        }
        catch
        {
            memory.Dispose();
            throw;
        }

        long offset = target - memory.Pointer + entry.Offset - first;
        lock (_tensors)
        {
            if (!_tensors.TryAdd(entry.Name, (memory, offset)))
            {
                memory.Dispose();
            }

            (memory, offset) = _tensors[entry.Name];
        }

        return memory.Pointer + offset;
    }

    /// <summary>Gives back the memory of tensors that are not used any more.</summary>
    /// <param name="isUnused">Whether the tensor at an address is.</param>
    public void GiveBack(Func<nint, bool> isUnused)
    {
        lock (_tensors)
        {
            foreach ((string name, (AlignedBuffer<byte> memory, long offset)) in _tensors.ToArray())
            {
                if (isUnused((nint)(memory.Pointer + offset)))
                {
                    memory.Dispose();
                    _tensors.Remove(name);
                }
            }
        }
    }

    public void Dispose() => GiveBack(_ => true);

    private void Read(TensorEntry entry, long offset, byte* target, int count)
    {
        try
        {
            files.Read(entry.Shard, offset, target, count);
        }
        catch (IOException e)
        {
            throw files.Failure(entry.Shard, entry.Name, Math.Max(offset, entry.Offset), e.Message, e);
        }
    }
}
