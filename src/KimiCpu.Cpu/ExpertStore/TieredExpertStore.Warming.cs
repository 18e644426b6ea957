// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <content>Filling slots before anybody needs what is in them.</content>
internal sealed unsafe partial class TieredExpertStore
{
    private Exception? _fillError;

    /// <summary>Fills free slots with experts, in the order given, whenever the drives have nothing better to do; ends when all of them hold one, so that slots whose memory the system needs meanwhile are filled when they have it again.</summary>
    public void Warm(IEnumerable<int> keys)
    {
        lock (_gate)
        {
            _warming.Add(keys);
            KeepMemoryWhileIdle();
            WarmMore();
        }
    }

    /// <summary>Fills all slots, and returns when the experts are there. Slots whose memory the system needs meanwhile are filled later, as <see cref="Warm"/> does.</summary>
    /// <param name="isElsewhere">By key: whether another device has an expert, which no step asks for here then.</param>
    /// <param name="progress">Told while they come in: mebibytes done, mebibytes in all. May throw to stop.</param>
    /// <exception cref="Exception">Of <see cref="IWeightFiles.Failure"/>: a drive fails.</exception>
    public void Fill(Func<int, bool> isElsewhere, Action<int, int>? progress)
    {
        int experts = _weights.Shape.ExpertCount;
        int[] wanted = [.. Enumerable.Range(0, experts).SelectMany(e => Enumerable.Range(0, _weights.Layers.Length).Where(l => _weights.Layers[l].IsMoe).Select(l => KeyOf(l, e))).Where(key => !isElsewhere(key))];
        long start = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            _fillError = null;

            // What failed before may be there by now, and is told if it is not.
            _warming.Wake();
            Warm(wanted);
            try
            {
                while (_fillError is null && _warming.Reads is { Count: > 0 } reading)
                {
                    int filled = _table.Capacity - _table.FreeSlots - reading.Count;
                    progress?.Invoke((int)(filled * SlotBytes >> 20), (int)(Math.Min(_table.Capacity, wanted.Length) * SlotBytes >> 20));
                    ThrowIfSilent(reading[0], start);
                    Monitor.Wait(_gate, TimeSpan.FromMilliseconds(100));
                }

                if (_fillError is { } error)
                {
                    throw error;
                }
            }
            catch
            {
                AbandonWarming();
                throw;
            }
        }
    }

    /// <summary>Begins the next reads of the list where the drives can do with them, and there is room that nobody has.</summary>
    private void WarmMore()
    {
        while (_table.FreeSlots > 0 && _warming.TryNext(out int key))
        {
            if (_table.Find(key) < 0)
            {
                TryRead(key, ReadUrgency.Warming, out _);
            }
        }

        if (_table.FreeSlots == 0 && _table.Capacity == _mostSlots)
        {
            _warming.Clear();
        }
    }

    /// <summary>Leaves out what is still to be filled ahead.</summary>
    private void AbandonWarming()
    {
        _warming.Clear();
        foreach (ExpertRead read in _warming.Reads.ToArray())
        {
            if (read.Urgency == ReadUrgency.Warming && _readers.TryAbandon(read))
            {
                Forget(read.Slot, null);
            }
        }
    }
}
