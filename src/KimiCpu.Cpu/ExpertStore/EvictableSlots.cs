// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cpu;

/// <summary>The slots that may be emptied: for each layer a heap with the lowest priority on top. Allocates only when made.</summary>
internal sealed class EvictableSlots
{
    private const int Nowhere = -1;

    private readonly IEvictionPolicy _policy;
    private readonly int[] _keyOf;
    private readonly int _expertsPerLayer;

    /// <summary>The heap of a layer begins at layer x experts per layer.</summary>
    private readonly int[] _heaps;
    private readonly int[] _counts;
    private readonly int[] _placeOf;

    /// <param name="keyOf">(slots) the key that lies in each slot; shared with the owner.</param>
    /// <param name="layers">Heaps.</param>
    /// <param name="expertsPerLayer">Most slots of a heap.</param>
    /// <param name="policy">Gives priorities.</param>
    public EvictableSlots(int[] keyOf, int layers, int expertsPerLayer, IEvictionPolicy policy)
    {
        _policy = policy;
        _keyOf = keyOf;
        _expertsPerLayer = expertsPerLayer;
        _heaps = new int[layers * expertsPerLayer];
        _counts = new int[layers];
        _placeOf = new int[keyOf.Length];
        Array.Fill(_placeOf, Nowhere);
    }

    public int Count { get; private set; }

    public void Add(int slot)
    {
        int layer = LayerOf(slot);
        int place = _counts[layer]++;
        Count++;
        Put(layer, place, slot);
        Rise(layer, place);
    }

    /// <summary>Takes a slot out, if it is in.</summary>
    public void Remove(int slot)
    {
        int place = _placeOf[slot];
        if (place == Nowhere)
        {
            return;
        }

        int layer = LayerOf(slot);
        int last = --_counts[layer];
        Count--;
        _placeOf[slot] = Nowhere;
        if (place != last)
        {
            Put(layer, place, At(layer, last));
            Sink(layer, place);
            Rise(layer, place);
        }
    }

    /// <summary>Finds a slot's new place after its priority has changed, if it is in.</summary>
    public void Update(int slot)
    {
        if (_placeOf[slot] != Nowhere)
        {
            int layer = LayerOf(slot);
            Sink(layer, _placeOf[slot]);
            Rise(layer, _placeOf[slot]);
        }
    }

    /// <summary>The slot with the lowest priority; among equals one of the layer that is longest in coming.</summary>
    /// <param name="running">The layer that runs, or ran last: it comes again after all others, the one before it just before.</param>
    public int Lowest(int running)
    {
        int best = Nowhere;
        double lowest = double.NaN;
        for (int i = 0; i < _counts.Length; i++)
        {
            int layer = running >= i ? running - i : running - i + _counts.Length;
            if (_counts[layer] > 0)
            {
                int slot = At(layer, 0);
                double priority = PriorityOf(slot);
                if (best == Nowhere || priority < lowest)
                {
                    (best, lowest) = (slot, priority);
                }
            }
        }

        return best;
    }

    private int LayerOf(int slot) => _keyOf[slot] / _expertsPerLayer;

    private double PriorityOf(int slot) => _policy.Priority(_keyOf[slot]);

    private int At(int layer, int place) => _heaps[(layer * _expertsPerLayer) + place];

    private void Put(int layer, int place, int slot)
    {
        _heaps[(layer * _expertsPerLayer) + place] = slot;
        _placeOf[slot] = place;
    }

    private void Rise(int layer, int place)
    {
        int slot = At(layer, place);
        double priority = PriorityOf(slot);
        while (place > 0)
        {
            int above = (place - 1) / 2;
            int other = At(layer, above);
            if (PriorityOf(other) <= priority)
            {
                break;
            }

            Put(layer, place, other);
            place = above;
        }

        Put(layer, place, slot);
    }

    private void Sink(int layer, int place)
    {
        int slot = At(layer, place);
        double priority = PriorityOf(slot);
        int count = _counts[layer];
        while ((2 * place) + 1 < count)
        {
            int below = (2 * place) + 1;
            double least = PriorityOf(At(layer, below));
            if (below + 1 < count && PriorityOf(At(layer, below + 1)) is var second && second < least)
            {
                (below, least) = (below + 1, second);
            }

            if (priority <= least)
            {
                break;
            }

            Put(layer, place, At(layer, below));
            place = below;
        }

        Put(layer, place, slot);
    }
}
