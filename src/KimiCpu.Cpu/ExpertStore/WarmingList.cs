// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cpu;

/// <summary>
/// Experts that are to be brought in ahead, in order, and the reads of those that have begun. Only as many begin at a time as keep the drives
/// busy: the slots of the others stay free until then, for what a step needs, or to be given up before anything is in them.
/// Belongs to the lock of the store.
/// </summary>
internal sealed class WarmingList
{
    /// <summary>Of an expert; with the longest rests between them they take more than a minute.</summary>
    private const int MostTries = 10;

    private static readonly TimeSpan s_shortestRest = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan s_longestRest = TimeSpan.FromSeconds(16);

    private readonly Queue<int> _keys = [];
    private readonly Dictionary<int, int> _failures = [];
    private readonly List<ExpertRead> _reads = [];
    private readonly long _mostReads;
    private long _restEnd;
    private TimeSpan _rest;

    /// <param name="drives">That hold the experts.</param>
    /// <param name="readsOfDrive">Reads in flight on each.</param>
    /// <param name="piecesOfExpert">Reads of an expert.</param>
    public WarmingList(int drives, int readsOfDrive, long piecesOfExpert)
    {
        // Twice what is in flight, so that no drive waits for the next; and twice that, since experts do not lie evenly on the drives.
        long pieces = 4L * readsOfDrive * drives;
        _mostReads = Math.Max(2 * drives, (pieces + piecesOfExpert - 1) / piecesOfExpert);
    }

    /// <summary>Begun, and not ended.</summary>
    public IReadOnlyList<ExpertRead> Reads => _reads;

    /// <param name="keys">Go behind those that are there.</param>
    public void Add(IEnumerable<int> keys)
    {
        foreach (int key in keys)
        {
            _keys.Enqueue(key);
        }
    }

    /// <summary>
    /// An expert that could not be read comes again behind all others, and nothing begins for a while, the longer the more rests end in another failure: a drive that fails for a
    /// minute must not use the list up. One that fails again and again is left to whoever needs it.
    /// </summary>
    public void Postpone(int key)
    {
        int failures = _failures.GetValueOrDefault(key) + 1;
        _failures[key] = failures;
        if (failures < MostTries)
        {
            _keys.Enqueue(key);
        }

        // Reads that were in flight together fail together.
        long now = Stopwatch.GetTimestamp();
        if (now >= _restEnd)
        {
            _rest = _rest == TimeSpan.Zero ? s_shortestRest : TimeSpan.FromTicks(Math.Min(2 * _rest.Ticks, s_longestRest.Ticks));
            _restEnd = now + (long)(_rest.TotalSeconds * Stopwatch.Frequency);
        }
    }

    /// <summary>Begins again at once, whatever has failed.</summary>
    public void Wake() => (_rest, _restEnd) = (TimeSpan.Zero, 0);

    /// <summary>The expert to begin with now; false where there is none, or the drives are busy, or one has just failed.</summary>
    public bool TryNext(out int key)
    {
        key = -1;
        return _reads.Count < _mostReads && Stopwatch.GetTimestamp() >= _restEnd && _keys.TryDequeue(out key);
    }

    public void Begin(ExpertRead read) => _reads.Add(read);

    /// <param name="read">Any that has ended, or is not wanted any more.</param>
    public void End(ExpertRead read)
    {
        // One of a step says nothing of the drive, or of the part of it, that fails, and steps read all the time.
        if (_reads.Remove(read) && read is { Error: null, IsAbandoned: false })
        {
            Wake();
        }
    }

    /// <summary>Leaves out what has not begun.</summary>
    public void Clear()
    {
        _keys.Clear();
        _failures.Clear();
    }
}
