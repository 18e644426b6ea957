// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <content>How much of the memory the store keeps.</content>
internal sealed unsafe partial class TieredExpertStore
{
    /// <summary>How often an idle store looks at what memory is left.</summary>
    private static readonly TimeSpan s_idlePause = TimeSpan.FromSeconds(1);

    private readonly Timer? _idle;
    private readonly Stack<int> _retired = [];
    private int _mostSlots;

    /// <summary>The same since <see cref="Limit"/>.</summary>
    public int MostSlots => Volatile.Read(ref _mostSlots);

    /// <summary>Slots whose memory the system has for something else at present.</summary>
    public int RetiredSlots => Slots - _table.Capacity;

    /// <summary>Gives up all memory beyond so many bytes for good; one expert at least stays. Between two passes, by the thread that runs them.</summary>
    public void Limit(long bytes)
    {
        lock (_gate)
        {
            _mostSlots = (int)Math.Clamp(bytes / SlotBytes, 1, _mostSlots);
            KeepMemory();
        }
    }

    /// <summary>Others may need memory while this model has nothing to do.</summary>
    private void KeepMemoryWhileIdle()
    {
        lock (_gate)
        {
            if (!_disposed && _wanted == 0)
            {
                KeepMemory();
            }
        }
    }

    /// <summary>Gives memory back that the system needs, or takes again what it has too much of; one expert at least stays.</summary>
    private void KeepMemory()
    {
        int before = _table.Capacity;
        long slots = (_options.Keeper?.Excess() ?? 0) / SlotBytes;

        // Those that are free have been promised their memory and not taken it.
        slots = slots < 0 ? Math.Min(0, slots + _table.FreeSlots) : slots;

        // For the same reason giving those up gives nothing back: the memory has to come from others.
        long tooMany = Math.Max(slots > 0 ? slots + 1 + _table.FreeSlots : 0, before - _mostSlots);
        if (tooMany > 0)
        {
            // Guesses give way first: held ones could leave a step without any slot.
            DropExpected();
            Span<int> retired = new int[Math.Min(tooMany, before)];
            foreach (int slot in retired[.._table.Shrink(retired)])
            {
                _contents[slot] = null;
                _memory.GiveBack(slot);
                _retired.Push(slot);
            }
        }

        for (; slots < 0 && _table.Capacity < _mostSlots && _retired.TryPop(out int slot); slots++)
        {
            _table.Restore(slot);
        }

        if (_table.Capacity != before)
        {
            TellCapacity();
        }

        // What has its memory again is still empty, and guesses that were dropped may have been all that was being read.
        WarmMore();
    }

    /// <summary>Whoever listens may throw, a logger for one: neither a step nor, from the timer's thread, the process ends of that.</summary>
    private void TellCapacity()
    {
        try
        {
            _options.CapacityChanged?.Invoke(_table.Capacity, _mostSlots);
        }
        catch (Exception)
        {
            // There is nobody else to tell.
        }
    }
}
