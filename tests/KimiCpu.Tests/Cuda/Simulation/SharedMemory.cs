// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>
/// Shared memory of a block, with who touched which two bytes since the last barrier. Two threads on the same bytes, one of
/// them writing, without a barrier in between are a race; inside a warp, bar.warp.sync is a barrier too.
/// </summary>
internal sealed unsafe class SharedMemory : IDisposable
{
    private const byte Several = 0xFF;

    private byte* _bytes;
    private Access[] _writes = [];
    private Access[] _reads = [];
    private int _capacity;

    /// <summary>Of the running block.</summary>
    public int Size { get; private set; }

    /// <summary>Counts barriers; never goes back, so that nothing of an earlier block is taken for a race.</summary>
    public uint Epoch { get; set; }

    /// <summary>Prepares for the next block: all ones, which is NaN in every format.</summary>
    public void Resize(int size)
    {
        if (size > _capacity)
        {
            _capacity = size;
            _bytes = (byte*)NativeMemory.AlignedRealloc(_bytes, (nuint)size, 16);
            Array.Resize(ref _writes, (size / 2) + 8);
            Array.Resize(ref _reads, (size / 2) + 8);
        }

        Size = size;
        Epoch++;
        NativeMemory.Fill(_bytes, (nuint)size, 0xFF);
    }

    /// <summary>Checks bounds and alignment and notes the access.</summary>
    public byte* At(PtxInstruction i, PtxWarp w, int lane, ulong address, int bytes, bool write)
    {
        if (address % (uint)bytes != 0)
        {
            throw w.Fault(i, $"lane {lane}: shared address {address} is not a multiple of {bytes}");
        }

        if (address + (uint)bytes > (uint)Size)
        {
            throw w.Fault(i, $"lane {lane}: shared address {address} is outside the block's {Size} bytes");
        }

        Note(i, w, (byte)lane, (int)address, bytes, write);
        return _bytes + address;
    }

    public void Dispose() => NativeMemory.AlignedFree(_bytes);

    private void Note(PtxInstruction i, PtxWarp w, byte lane, int address, int bytes, bool write)
    {
        var current = new Access(Epoch, w.Epoch, (byte)w.Index, lane);
        for (int place = address / 2; place <= (address + bytes - 1) / 2; place++)
        {
            ref Access lastWrite = ref _writes[place];
            if (lastWrite.Conflicts(current))
            {
                throw w.Fault(i, $"race: lane {lane} {(write ? "writes" : "reads")} shared byte {place * 2} that {lastWrite} wrote since the last barrier");
            }

            ref Access lastRead = ref _reads[place];
            if (write)
            {
                if (lastRead.Conflicts(current))
                {
                    throw w.Fault(i, $"race: lane {lane} writes shared byte {place * 2} that {lastRead} read since the last barrier");
                }

                lastWrite = current;
            }
            else
            {
                lastRead = lastRead.And(current);
            }
        }
    }

    private readonly record struct Access(uint Epoch, ushort WarpEpoch, byte Warp, byte Lane)
    {
        public bool Conflicts(Access other) => Epoch == other.Epoch && (Warp != other.Warp || (Lane != other.Lane && WarpEpoch == other.WarpEpoch));

        /// <summary>Who has read by now. An earlier read of the same warp no longer matters once the warp has met.</summary>
        public Access And(Access other) =>
            Epoch != other.Epoch ? other
            : Warp != other.Warp ? other with { Warp = Several, Lane = Several }
            : WarpEpoch != other.WarpEpoch ? other
            : Lane != other.Lane ? other with { Lane = Several }
            : this;

        public override string ToString() => $"{(Warp == Several ? "several warps" : $"warp {Warp}")}, {(Lane == Several ? "several lanes" : $"lane {Lane}")}";
    }
}
