// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// The memory of all slots, one block in huge pages; taken from the system only as slots are filled. The only owner of it.
/// </summary>
internal sealed unsafe class SlotMemory : IDisposable
{
    /// <summary>Slots from here on begin at huge pages of their own, so that each can be given back.</summary>
    private const long LargeSlot = 16L << 20;

    private readonly AlignedBuffer<byte> _block;

    /// <param name="slots">1 or more.</param>
    /// <param name="expertBytes">Of the largest expert with its alignment.</param>
    /// <exception cref="InsufficientMemoryException">The system does not promise so much.</exception>
    public SlotMemory(int slots, long expertBytes)
    {
        SlotBytes = BytesOfSlot(expertBytes);
        long bytes = checked((slots * SlotBytes) + IWeightFiles.Alignment);
        try
        {
            _block = new AlignedBuffer<byte>(bytes);
        }
        catch (OutOfMemoryException e)
        {
            throw RefusedMemory.Of((nuint)bytes, FormattableString.Invariant($" for {slots:N0} experts"), "KimiModelOptions.ExpertMemory", e);
        }
    }

    public long SlotBytes { get; }

    public static long BytesOfSlot(long expertBytes)
    {
        long unit = expertBytes >= LargeSlot ? (long)HugePages.Bytes : IWeightFiles.Alignment;
        return (expertBytes + unit - 1) / unit * unit;
    }

    /// <summary>First byte of a slot.</summary>
    public byte* this[int slot] => (byte*)(((nuint)_block.Pointer + IWeightFiles.Alignment - 1) / IWeightFiles.Alignment * IWeightFiles.Alignment) + (slot * SlotBytes);

    /// <summary>The system may have the slot's memory for something else; its contents are lost.</summary>
    public void GiveBack(int slot) => HugePages.GiveBack(this[slot], (nuint)SlotBytes);

    public void Dispose() => _block.Dispose();
}
