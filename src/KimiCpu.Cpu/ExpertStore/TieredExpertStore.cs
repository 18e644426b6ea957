// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// Experts that do not fit into memory: a fixed number of slots, filled from the drives past the page cache. Missing experts
/// are read while those that are there are computed; the router's look-ahead begins reads a layer early. Nothing of the
/// experts is ever read through the mapping, so that a file that is cut or a drive that fails costs the step an exception
/// and nothing else.
/// </summary>
internal sealed unsafe partial class TieredExpertStore : IExpertStore
{
    private const int NoSlot = -1;

    private readonly ModelWeights _weights;
    private readonly ExpertFiles _files;
    private readonly TieredStoreOptions _options;
    private readonly SlotTable _table;
    private readonly SlotMemory _memory;
    private readonly DriveReaders _readers;
    private readonly WarmingList _warming;

    /// <summary>Guards the table, the slots' contents and the lists. Reading threads take it only to say that an expert is there.</summary>
    private readonly object _gate = new();
    private readonly ExpertRead?[] _reads;
    private readonly MlpWeights?[] _contents;
    private readonly int[] _wantedKeys;
    private readonly int[] _slots;
    private readonly bool[] _received;
    private readonly Exception?[] _errors;
    private int _wanted;
    private int _requestedFrom;
    private int _requestedEnd;
    private int _layer = -1;
    private long _step;
    private bool _disposed;

    /// <param name="weights">Formats and shapes; the experts' pointers are not followed.</param>
    /// <param name="files">Where the experts lie; stays the caller's.</param>
    /// <param name="options">How large, and what it does.</param>
    /// <exception cref="InsufficientMemoryException">The system does not promise so much.</exception>
    public TieredExpertStore(ModelWeights weights, ExpertFiles files, TieredStoreOptions options)
    {
        _weights = weights;
        _files = files;
        _options = options;
        int experts = weights.Shape.ExpertCount;
        SlotBytes = SlotMemory.BytesOfSlot(LargestExpert(files));
        Slots = (int)Math.Min(options.Bytes / SlotBytes, experts * (long)weights.Layers.Count(l => l.IsMoe));
        if (Slots < 1)
        {
            throw new ArgumentOutOfRangeException(nameof(options), options.Bytes, $"One expert takes {SlotBytes:N0} bytes of memory, so that at least as many are needed for experts (KimiModelOptions.ExpertMemory); found {options.Bytes:N0}.");
        }

        _mostSlots = Slots;
        _table = new SlotTable(Slots, weights.Layers.Length, experts, options.Policy(weights.Layers.Length, experts));
        _reads = new ExpertRead?[Slots];
        _contents = new MlpWeights?[Slots];
        _isExpected = new bool[Slots];
        _isTaken = new bool[Slots];
        _wantedKeys = new int[experts];
        _slots = new int[experts];
        _received = new bool[experts];
        _errors = new Exception?[experts];
        _memory = new SlotMemory(Slots, SlotBytes);
        try
        {
            _readers = new DriveReaders(files, options.ReadsOfDrive, Finished);
        }
        catch
        {
            _memory.Dispose();
            throw;
        }

        _warming = new WarmingList(_readers.DriveCount, options.ReadsOfDrive, (SlotBytes + options.PieceBytes - 1) / options.PieceBytes);
        _idle = options.Keeper is null ? null : new Timer(_ => KeepMemoryWhileIdle(), null, s_idlePause, s_idlePause);
    }

    /// <summary>Experts that there was room for when the store was made.</summary>
    public int Slots { get; }

    /// <summary>Bytes of a slot.</summary>
    public long SlotBytes { get; }

    /// <summary>Told how long a step could not go on: when it began and ended to wait (<see cref="Stopwatch"/> ticks). For timelines.</summary>
    public Action<long, long>? StepWaited { get; set; }

    public StoreCounters Counters { get; } = new();

    public long DriveBytesRead => _readers.BytesRead;

    public ExpertLookups Lookups => new(Counters.Hits, Counters.Late, Counters.Misses);

    public DriveReaders Readers => _readers;

    public MlpWeights this[int place] => _contents[_slots[place]]!;

    public void Begin(int layer, ReadOnlySpan<int> experts)
    {
        lock (_gate)
        {
            if (layer <= _layer)
            {
                // After a step that failed, guesses may still hold slots; with what memory leaves they could hold all of them.
                DropExpected();
                _table.BeginStep();
                _step++;
            }

            KeepMemory();
            _layer = layer;
            _wanted = experts.Length;
            (_requestedFrom, _requestedEnd) = (0, 0);
            for (int place = 0; place < experts.Length; place++)
            {
                int key = KeyOf(layer, experts[place]);
                (_wantedKeys[place], _slots[place], _received[place], _errors[place]) = (key, NoSlot, false, null);
            }

            _table.Use(layer, _wantedKeys.AsSpan(0, experts.Length));
        }
    }

    /// <summary>All that a layer needs where there is room for it; else half of the slots, so that the other half can be filled meanwhile.</summary>
    public int WaveEnd(int first) => _wanted <= _table.Capacity ? _wanted : Math.Min(_wanted, first + Math.Max(1, _table.Capacity / 2));

    public void Request(int first, int end)
    {
        lock (_gate)
        {
            Debug.Assert(first == _requestedEnd, "Waves are requested one after another.");
            _requestedEnd = end;

            // What is there is held before anything else takes its slot, but not before those that come first have theirs: they may need it.
            for (int place = first; place < end && _requestedFrom == first; place++)
            {
                Hold(place);
            }

            TakeSlots();
            if (end == _wanted)
            {
                DropExpected();
                TakeSlots();
            }
        }
    }

    public int Receive(int first, int end, Span<int> ready)
    {
        lock (_gate)
        {
            long start = Stopwatch.GetTimestamp();
            while (true)
            {
                int count = 0;
                bool all = true;
                for (int place = first; place < end; place++)
                {
                    if (_received[place])
                    {
                        continue;
                    }

                    all = false;
                    if (_slots[place] != NoSlot && _reads[_slots[place]] is null)
                    {
                        _received[place] = true;
                        ready[count++] = place;
                    }
                }

                if (count > 0 || all)
                {
                    long now = Stopwatch.GetTimestamp();
                    Counters.Wait(now - start);
                    StepWaited?.Invoke(start, now);
                    return count;
                }

                Wait(first, end, start);
            }
        }
    }

    public void Release(int first, int end)
    {
        lock (_gate)
        {
            for (int place = first; place < end; place++)
            {
                Unhold(place);
            }

            TakeSlots();
        }
    }

    public void End()
    {
        lock (_gate)
        {
            for (int place = 0; place < _wanted; place++)
            {
                Unhold(place);
            }

            _wanted = 0;
            (_requestedFrom, _requestedEnd) = (0, 0);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            Monitor.PulseAll(_gate);
        }

        _idle?.Dispose();
        if (!_readers.Stop())
        {
            GiveBackWhatNobodyReads();
        }

        _readers.AtEnd(_memory.Dispose);
    }

    private static long LargestExpert(ExpertFiles files)
    {
        long largest = 0;
        for (int layer = 0; layer < files.LayerCount; layer++)
        {
            for (int expert = 0; expert < files.ExpertsOf(layer); expert++)
            {
                largest = Math.Max(largest, new ExpertLayout(files.Of(layer, expert)).SlotBytes);
            }
        }

        return largest;
    }

    private int KeyOf(int layer, int expert) => (layer * _weights.Shape.ExpertCount) + expert;

    /// <summary>Holds the slot of a place where its expert is there or on its way.</summary>
    private bool Hold(int place)
    {
        int slot = _table.Find(_wantedKeys[place]);
        if (slot < 0 || _reads[slot] is { IsAbandoned: true })
        {
            return false;
        }

        _table.Pin(slot);
        _slots[place] = slot;
        if (_reads[slot] is { } read)
        {
            _readers.Hurry(read, ReadUrgency.Needed);
            Counters.Late++;
        }
        else
        {
            Counters.Hits++;
        }

        return true;
    }

    private void Unhold(int place)
    {
        if (_slots[place] != NoSlot)
        {
            _table.Unpin(_slots[place]);
            _slots[place] = NoSlot;
        }
    }

    /// <summary>Gives slots to what has been requested, in order; what finds none gets it when others are released or done.</summary>
    private void TakeSlots()
    {
        for (; _requestedFrom < _requestedEnd; _requestedFrom++)
        {
            if (_slots[_requestedFrom] != NoSlot || _received[_requestedFrom] || _errors[_requestedFrom] is not null || Hold(_requestedFrom))
            {
                continue;
            }

            // Where the same expert was given up a moment ago, its last pieces come in first.
            if (_table.Find(_wantedKeys[_requestedFrom]) >= 0 || !TryRead(_wantedKeys[_requestedFrom], ReadUrgency.Needed, out int slot))
            {
                return;
            }

            _table.Pin(slot);
            _slots[_requestedFrom] = slot;
            Counters.Misses++;
        }
    }

    private bool TryRead(int key, ReadUrgency urgency, out int slot)
    {
        if (!_table.TryTake(key, out slot, out _))
        {
            return false;
        }

        int experts = _weights.Shape.ExpertCount;
        (int layer, int expert) = (key / experts, key % experts);
        _contents[slot] = null;
        var read = new ExpertRead(layer, expert, slot, _memory[slot], new ExpertLayout(_files.Of(layer, expert)), _options.PieceBytes, urgency) { Step = _step };
        _reads[slot] = read;
        if (urgency == ReadUrgency.Warming)
        {
            _warming.Begin(read);
        }

        _readers.Start(read);
        return true;
    }

    /// <summary>On a reading thread: an expert is there, or failed.</summary>
    private void Finished(ExpertRead read)
    {
        lock (_gate)
        {
            _takenSlots += _isTaken[read.Slot] ? 0 : 1;
            _isTaken[read.Slot] = true;
            if (read.IsAbandoned)
            {
                Forget(read.Slot, null);
            }
            else if (read.Error is null)
            {
                _contents[read.Slot] = read.Layout.At(read.Target, _weights.Layers[read.Layer].Experts[read.Expert]);
                _table.SetResident(read.Slot);
                EndRead(read.Slot);
            }
            else
            {
                // What failed for a step before this one is tried again, not held against this one.
                Forget(read.Slot, read.Step < _step ? null : read.Error);
                if (read.Urgency == ReadUrgency.Warming)
                {
                    _fillError ??= read.Error;
                    _warming.Postpone(KeyOf(read.Layer, read.Expert));
                }
            }

            TakeSlots();
            WarmMore();
            Monitor.PulseAll(_gate);
        }
    }

    private void EndRead(int slot)
    {
        _warming.End(_reads[slot]!);
        _reads[slot] = null;
    }

    /// <summary>A read that failed or was taken back leaves its slot to others; who needs the expert later tries again.</summary>
    private void Forget(int slot, Exception? error)
    {
        for (int place = 0; place < _wanted; place++)
        {
            if (_slots[place] == slot)
            {
                _errors[place] = error;
                Unhold(place);
                _requestedFrom = Math.Min(_requestedFrom, place);
            }
        }

        if (_isExpected[slot])
        {
            _expectedSlots.Remove(slot);
            _isExpected[slot] = false;
            _table.Unpin(slot);
        }

        EndRead(slot);
        _table.Drop(slot);
    }

    private void Wait(int first, int end, long start)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ExpertRead? awaited = null;
        for (int place = first; place < end; place++)
        {
            if (_errors[place] is { } error)
            {
                throw error;
            }

            awaited ??= _slots[place] == NoSlot ? null : _reads[_slots[place]];
        }

        // Without a slot of its own a place waits for those that other reads hold.
        ThrowIfSilent(awaited ?? Array.Find(_reads, r => r is not null) ?? throw new InvalidOperationException("Experts wait for slots that nobody will give up."), start);
        Monitor.Wait(_gate, TimeSpan.FromMilliseconds(100));
    }

    /// <summary>A drive that fell silent before has its chance again in every step.</summary>
    private void ThrowIfSilent(ExpertRead awaited, long start)
    {
        TimeSpan waited = Stopwatch.GetElapsedTime(start);
        TimeSpan idle = _readers.SinceProgress(awaited);
        TimeSpan silent = idle < waited ? idle : waited;
        if (silent > _options.Patience)
        {
            throw _readers.Stalled(awaited, silent);
        }
    }
}
