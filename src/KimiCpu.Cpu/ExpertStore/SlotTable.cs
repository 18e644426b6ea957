// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>What a slot holds.</summary>
internal enum SlotState : byte
{
    /// <summary>Nothing.</summary>
    Free,

    /// <summary>An expert on its way; never evicted.</summary>
    Reading,

    /// <summary>An expert; evicted when nobody pins it and its priority is the lowest.</summary>
    Resident,

    /// <summary>Nothing; its memory belongs to somebody else.</summary>
    Retired,
}

/// <summary>
/// Which expert lies in which slot, and which one gives way: bookkeeping without memory behind it, for the store and for
/// simulations alike. Takes microseconds with ten thousand slots and allocates only when made. Not for several threads at
/// a time.
/// </summary>
internal sealed class SlotTable
{
    private const int None = -1;

    private readonly IEvictionPolicy _policy;
    private readonly int _expertsPerLayer;
    private readonly EvictableSlots _evictable;

    /// <summary>Keys whose uses count from the next forward pass on.</summary>
    private readonly int[] _later;
    private readonly int[] _slotOf;
    private readonly int[] _keyOf;
    private readonly int[] _pins;
    private readonly SlotState[] _states;
    private readonly int[] _free;
    private int _laterCount;
    private int _layer;

    /// <param name="slots">Experts that there is room for.</param>
    /// <param name="layers">Of the model, dense ones included.</param>
    /// <param name="expertsPerLayer">Keys are layer x this + expert.</param>
    /// <param name="policy">Used by this table alone.</param>
    public SlotTable(int slots, int layers, int expertsPerLayer, IEvictionPolicy policy)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(slots);
        _policy = policy;
        _expertsPerLayer = expertsPerLayer;
        _later = new int[layers * expertsPerLayer];
        _slotOf = new int[layers * expertsPerLayer];
        _keyOf = new int[slots];
        _pins = new int[slots];
        _states = new SlotState[slots];
        _free = new int[slots];
        Array.Fill(_slotOf, None);
        Array.Fill(_keyOf, None);
        for (int slot = 0; slot < slots; slot++)
        {
            _free[slot] = slots - 1 - slot;
        }

        (Capacity, FreeSlots) = (slots, slots);
        _evictable = new EvictableSlots(_keyOf, layers, expertsPerLayer, policy);
    }

    /// <summary>Slots that are not retired.</summary>
    public int Capacity { get; private set; }

    public int FreeSlots { get; private set; }

    /// <summary>Slots that <see cref="TryTake"/> can still give: free ones, and resident ones that nobody pins.</summary>
    public int TakeableSlots => FreeSlots + _evictable.Count;

    /// <summary>Tells the policy that a forward pass begins.</summary>
    public void BeginStep()
    {
        foreach (int key in _later.AsSpan(0, _laterCount))
        {
            Use(key);
        }

        _laterCount = 0;
        _policy.BeginStep();
    }

    /// <summary>
    /// Tells the policy what a layer of the running step needs, whether it is there or not. Where that is most of its experts, as in long prompts,
    /// it is told when the step is over: the layers that follow need most of theirs as well, and would give way to those that have passed and been told of.
    /// </summary>
    /// <param name="layer">That runs from here on.</param>
    /// <param name="keys">Of its experts, each once; once a step.</param>
    public void Use(int layer, ReadOnlySpan<int> keys)
    {
        _layer = layer;
        _policy.BeginLayer(layer);
        if (keys.Length > _expertsPerLayer / 2)
        {
            keys.CopyTo(_later.AsSpan(_laterCount));
            _laterCount += keys.Length;
            return;
        }

        foreach (int key in keys)
        {
            Use(key);
        }
    }

    private void Use(int key)
    {
        _policy.Use(key);
        if (_slotOf[key] is not None and int slot)
        {
            _evictable.Update(slot);
        }
    }

    /// <summary>The slot that holds an expert or is being filled with it; -1 where there is none.</summary>
    public int Find(int key) => _slotOf[key];

    /// <summary>The expert of a slot; -1 where there is none.</summary>
    public int KeyOf(int slot) => _keyOf[slot];

    public SlotState StateOf(int slot) => _states[slot];

    public int PinsOf(int slot) => _pins[slot];

    /// <summary>
    /// Gives an expert that has no slot a free one, or the one of the evictable expert with the lowest priority. The slot is
    /// then <see cref="SlotState.Reading"/> and not pinned.
    /// </summary>
    /// <param name="key">Of the expert.</param>
    /// <param name="slot">Its slot; -1 where there is none.</param>
    /// <param name="evictedKey">The expert that gave way; -1 where none had to.</param>
    /// <returns>False where every slot is pinned or being filled.</returns>
    public bool TryTake(int key, out int slot, out int evictedKey)
    {
        if (_slotOf[key] != None)
        {
            throw new InvalidOperationException($"Expert {key} has slot {_slotOf[key]} already.");
        }

        if (!TryEmpty(out slot, out evictedKey))
        {
            return false;
        }

        _slotOf[key] = slot;
        _keyOf[slot] = key;
        _states[slot] = SlotState.Reading;
        return true;
    }

    /// <summary>The slot's expert has arrived.</summary>
    public void SetResident(int slot)
    {
        Require(_states[slot] == SlotState.Reading, slot, "is not being filled");
        _states[slot] = SlotState.Resident;
        if (_pins[slot] == 0)
        {
            _evictable.Add(slot);
        }
    }

    /// <summary>Keeps the slot's expert from giving way until it is unpinned as often.</summary>
    public void Pin(int slot)
    {
        Require(_states[slot] is SlotState.Reading or SlotState.Resident, slot, "holds nothing to pin");
        if (_pins[slot]++ == 0)
        {
            _evictable.Remove(slot);
        }
    }

    public void Unpin(int slot)
    {
        Require(_pins[slot] > 0, slot, "is not pinned");
        if (--_pins[slot] == 0 && _states[slot] == SlotState.Resident)
        {
            _evictable.Add(slot);
        }
    }

    /// <summary>Empties a slot that nobody pins, as after a failed read.</summary>
    public void Drop(int slot)
    {
        Require(_states[slot] is SlotState.Reading or SlotState.Resident, slot, "holds nothing to drop");
        Require(_pins[slot] == 0, slot, "is pinned");
        Forget(slot);
        _states[slot] = SlotState.Free;
        _free[FreeSlots++] = slot;
    }

    /// <summary>Retires slots, so that their memory can be given back: free ones, then those whose experts have the lowest priorities.</summary>
    /// <param name="retired">Filled with the retired slots; as long as the number that is wished for.</param>
    /// <returns>How many they are; fewer where the rest is pinned or being filled, and never the last one.</returns>
    public int Shrink(Span<int> retired)
    {
        int count = 0;
        while (count < retired.Length && Capacity > 1 && TryEmpty(out int slot, out _))
        {
            _states[slot] = SlotState.Retired;
            Capacity--;
            retired[count++] = slot;
        }

        return count;
    }

    /// <summary>Takes a retired slot back into use, free.</summary>
    public void Restore(int slot)
    {
        Require(_states[slot] == SlotState.Retired, slot, "is in use");
        _states[slot] = SlotState.Free;
        _free[FreeSlots++] = slot;
        Capacity++;
    }

    private bool TryEmpty(out int slot, out int evictedKey)
    {
        evictedKey = None;
        if (FreeSlots > 0)
        {
            slot = _free[--FreeSlots];
            return true;
        }

        slot = _evictable.Lowest(_layer);
        if (slot == None)
        {
            return false;
        }

        evictedKey = _keyOf[slot];
        Forget(slot);
        return true;
    }

    private void Forget(int slot)
    {
        _evictable.Remove(slot);
        _slotOf[_keyOf[slot]] = None;
        _keyOf[slot] = None;
    }

    private void Require(bool holds, int slot, string problem)
    {
        if (!holds)
        {
            throw new InvalidOperationException($"Slot {slot} {problem}: it is {_states[slot]} with {_pins[slot]} pins.");
        }
    }
}
