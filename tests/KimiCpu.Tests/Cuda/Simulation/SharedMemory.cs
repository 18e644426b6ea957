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
    private byte* _bytes;
    private ulong[] _writes = [];
    private ulong[] _reads = [];
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
        if ((address & ((uint)bytes - 1)) != 0)
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
        ulong current = Access.Of(Epoch, w.Epoch, w.Index, lane);
        for (int place = address / 2; place <= (address + bytes - 1) / 2; place++)
        {
            ref ulong lastWrite = ref _writes[place];
            if (Access.Conflict(lastWrite, current))
            {
                throw w.Fault(i, $"race: lane {lane} {(write ? "writes" : "reads")} shared byte {place * 2} that {Access.Name(lastWrite)} wrote since the last barrier");
            }

            ref ulong lastRead = ref _reads[place];
            if (write)
            {
                if (Access.Conflict(lastRead, current))
                {
                    throw w.Fault(i, $"race: lane {lane} writes shared byte {place * 2} that {Access.Name(lastRead)} read since the last barrier");
                }

                lastWrite = current;
            }
            else if (lastRead != current)
            {
                lastRead = Access.Join(lastRead, current);
            }
        }
    }

    /// <summary>Who touched two bytes, in one number, since most of the interpreter's time goes here: epoch (32 bits), epoch of the warp (16), warp (8), lane (8).</summary>
    private static class Access
    {
        private const ulong LaneBits = 0xFF;
        private const ulong WarpBits = 0xFF00;
        private const ulong WarpEpochBits = 0xFFFF_0000;

        public static ulong Of(uint epoch, ushort warpEpoch, int warp, byte lane) => ((ulong)epoch << 32) | ((ulong)warpEpoch << 16) | ((ulong)(byte)warp << 8) | lane;

        /// <summary>Whether nothing orders the two: no barrier of the block, and none of the warp where it is the same one.</summary>
        public static bool Conflict(ulong earlier, ulong later)
        {
            ulong different = earlier ^ later;
            return different >> 32 == 0 && ((different & WarpBits) != 0 || ((different & LaneBits) != 0 && (different & WarpEpochBits) == 0));
        }

        /// <summary>Who has read by now; all ones for several. An earlier read of the same warp no longer matters once the warp has met.</summary>
        public static ulong Join(ulong earlier, ulong later)
        {
            ulong different = earlier ^ later;
            return different >> 32 != 0 ? later
                : (different & WarpBits) != 0 ? later | WarpBits | LaneBits
                : (different & WarpEpochBits) != 0 ? later
                : later | LaneBits;
        }

        public static string Name(ulong access) =>
            $"{((access & WarpBits) == WarpBits ? "several warps" : $"warp {(access & WarpBits) >> 8}")}, {((access & LaneBits) == LaneBits ? "several lanes" : $"lane {access & LaneBits}")}";
    }
}
