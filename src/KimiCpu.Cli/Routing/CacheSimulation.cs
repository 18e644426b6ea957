// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Cli.Routing;

/// <summary>
/// Replays a trace against a cache with the table and the policies of the tiered store, in the order of its steps: what a
/// layer needs is counted, what is there is pinned, what is missing takes slots, in waves where there are too few; then, if
/// asked for, what is predicted for the next layer is begun, and pinned until that layer has taken what it needs.
/// </summary>
internal sealed class CacheSimulation
{
    private readonly TraceAccesses _accesses;
    private readonly SlotTable _table;
    private readonly string _policy;
    private readonly int _slots;
    private readonly bool _lookAhead;
    private readonly List<int> _pinned = [];
    private readonly List<int> _expected = [];

    /// <summary>Keys whose reading look-ahead began for the next layer.</summary>
    private readonly HashSet<int> _begun = [];
    private long _needed;
    private long _hits;
    private long _foreseen;
    private long _inVain;

    private CacheSimulation(TraceAccesses accesses, int slots, string policy, bool lookAhead)
    {
        _accesses = accesses;
        _policy = policy;
        _slots = slots;
        _lookAhead = lookAhead;
        _table = new SlotTable(slots, accesses.Layers, accesses.Header.ExpertCount, EvictionPolicies.Make(policy, accesses.Layers, accesses.Header.ExpertCount));
    }

    /// <param name="accesses">What to replay.</param>
    /// <param name="slots">1 or more.</param>
    /// <param name="policy">See <see cref="EvictionPolicies.Make"/>.</param>
    /// <param name="lookAhead">Whether predictions begin reads.</param>
    /// <param name="cancellationToken">Honoured between passes.</param>
    public static SimulationResult Run(TraceAccesses accesses, int slots, string policy, bool lookAhead, CancellationToken cancellationToken = default)
    {
        var simulation = new CacheSimulation(accesses, slots, policy, lookAhead);
        for (int step = 0; step < accesses.Steps; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            simulation.RunStep(step);
        }

        return simulation.Result();
    }

    private SimulationResult Result() => new()
    {
        Policy = _policy,
        Slots = _slots,
        ResidentShare = (double)_slots / _accesses.Header.TotalExperts,
        Accesses = _needed,
        Hits = _hits,
        Foreseen = _foreseen,
        InVain = _inVain,
        Tokens = _accesses.Tokens,
        ExpertBytes = _accesses.Header.ExpertBytes,
    };

    private void RunStep(int step)
    {
        bool counted = _accesses.IsCounted(step);
        _table.BeginStep();
        for (int layer = 0; layer < _accesses.Layers; layer++)
        {
            ReadOnlySpan<int> keys = _accesses.KeysOf(step, layer);
            _table.Use(layer, keys);
            int wave = keys.Length <= _slots ? keys.Length : Math.Max(1, _slots / 2);
            for (int first = 0; first < keys.Length; first += wave)
            {
                RunWave(keys[first..Math.Min(first + wave, keys.Length)], counted);
                if (first + wave >= keys.Length)
                {
                    DropExpected(counted);
                    Expect(step, layer + 1, keys.Length);
                }

                Unpin(_pinned);
            }
        }
    }

    private void RunWave(ReadOnlySpan<int> keys, bool counted)
    {
        foreach (int key in keys)
        {
            int slot = _table.Find(key);
            if (slot >= 0)
            {
                Pin(slot, _pinned);
                bool begun = _begun.Remove(key);
                Count(ref begun ? ref _foreseen : ref _hits, counted);
            }

            Count(ref _needed, counted);
        }

        foreach (int key in keys)
        {
            if (_table.Find(key) < 0)
            {
                Take(key, _pinned);
            }
        }
    }

    /// <summary>Begins what is predicted, as long as there is room beside what the layer holds.</summary>
    private void Expect(int step, int layer, int held)
    {
        if (!_lookAhead || layer == _accesses.Layers)
        {
            return;
        }

        ReadOnlySpan<int> keys = _accesses.PredictedOf(step, layer);
        keys = keys[..Math.Clamp(Math.Min(_slots / 2, _slots - held - 1), 0, keys.Length)];
        foreach (int key in keys)
        {
            if (_table.Find(key) is >= 0 and int slot)
            {
                Pin(slot, _expected);
            }
        }

        foreach (int key in keys)
        {
            if (_table.Find(key) < 0 && Take(key, _expected))
            {
                _begun.Add(key);
            }
        }
    }

    private void DropExpected(bool counted)
    {
        _inVain += counted ? _begun.Count : 0;
        _begun.Clear();
        Unpin(_expected);
    }

    private bool Take(int key, List<int> pins)
    {
        // What is pinned for the next layer can leave none in the smallest caches; the expert is then read past them.
        if (!_table.TryTake(key, out int slot, out _))
        {
            return false;
        }

        _table.SetResident(slot);
        Pin(slot, pins);
        return true;
    }

    private void Pin(int slot, List<int> pins)
    {
        _table.Pin(slot);
        pins.Add(slot);
    }

    private void Unpin(List<int> pins)
    {
        pins.ForEach(_table.Unpin);
        pins.Clear();
    }

    private static void Count(ref long counter, bool counted) => counter += counted ? 1 : 0;
}
