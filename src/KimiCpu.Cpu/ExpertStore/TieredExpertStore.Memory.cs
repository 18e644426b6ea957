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

    /// <summary>Slots that something was read into: the others have been promised their memory and not taken it.</summary>
    private readonly bool[] _isTaken;
    private int _takenSlots;

    /// <summary>Slots that have an expert, or had one; for tests.</summary>
    internal int TakenSlots
    {
        get
        {
            lock (_gate)
            {
                return _takenSlots;
            }
        }
    }
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

        // A layer of a long prompt may fill hundreds of slots before the next look, and reads of as many may wait for the drive now.
        long excess = _options.Keeper?.Excess((before - _takenSlots) * SlotBytes) ?? 0;
        long tooMany = Math.Max(excess > 0 ? (excess + SlotBytes - 1) / SlotBytes : 0, before - _mostSlots);
        if (tooMany > 0)
        {
            // Guesses give way first: held ones could leave a step without any slot.
            DropExpected();
            Span<int> retired = new int[Math.Min(tooMany, before)];
            foreach (int slot in retired[.._table.Shrink(retired)])
            {
                _contents[slot] = null;
                _takenSlots -= _isTaken[slot] ? 1 : 0;
                _isTaken[slot] = false;
                _memory.GiveBack(slot);
                _retired.Push(slot);
            }
        }

        for (long more = -excess / SlotBytes; more > 0 && _table.Capacity < _mostSlots && _retired.TryPop(out int slot); more--)
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

    /// <summary>A drive that does not answer may still write to a few slots, and the model that is opened next needs the memory of all others.</summary>
    private void GiveBackWhatNobodyReads()
    {
        lock (_gate)
        {
            for (int slot = 0; slot < Slots; slot++)
            {
                if (_reads[slot] is not { } read || !_readers.IsInFlight(read))
                {
                    _memory.GiveBack(slot);
                }
            }
        }
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
