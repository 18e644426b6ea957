// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <content>What the router's look-ahead expects of the next layer.</content>
internal sealed unsafe partial class TieredExpertStore
{
    private readonly List<int> _expectedSlots = [];
    private readonly bool[] _isExpected;

    public void Expect(int layer, ReadOnlySpan<int> experts)
    {
        lock (_gate)
        {
            // Room for what this layer still needs comes first.
            int room = Math.Min(_table.Capacity - _wanted - 1, _table.Capacity / 2) - _expectedSlots.Count;
            experts = experts[..Math.Clamp(room, 0, experts.Length)];

            // What is there is held before another guess takes its slot.
            foreach (int expert in experts)
            {
                int slot = _table.Find(KeyOf(layer, expert));
                if (slot >= 0 && _reads[slot] is not { IsAbandoned: true })
                {
                    HoldExpected(slot);
                }
            }

            foreach (int expert in experts)
            {
                int key = KeyOf(layer, expert);
                if (_table.Find(key) < 0 && TryRead(key, ReadUrgency.Expected, out int slot))
                {
                    HoldExpected(slot);
                }
            }
        }
    }

    private void HoldExpected(int slot)
    {
        if (_reads[slot] is { } read)
        {
            _readers.Hurry(read, ReadUrgency.Expected);
        }

        if (!_isExpected[slot])
        {
            _table.Pin(slot);
            _expectedSlots.Add(slot);
            _isExpected[slot] = true;
        }
    }

    /// <summary>What was expected of this layer has been held if it is needed; the rest is as any other expert, or is not read at all.</summary>
    private void DropExpected()
    {
        foreach (int slot in _expectedSlots)
        {
            _isExpected[slot] = false;
            _table.Unpin(slot);
            if (_reads[slot] is { Urgency: ReadUrgency.Expected } read && _readers.TryAbandon(read))
            {
                EndRead(slot);
                _table.Drop(slot);
            }
        }

        _expectedSlots.Clear();
    }
}
