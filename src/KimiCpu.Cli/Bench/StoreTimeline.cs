// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>A time between two moments, in seconds since the recording began.</summary>
internal readonly record struct TimeSpanOf(double Start, double End)
{
    public double Seconds => End - Start;
}

/// <summary>What happens beside each other in a tiered store: reads by urgency, and the steps' waiting.</summary>
internal sealed class StoreTimeline
{
    private readonly Lock _gate = new();
    private readonly List<(TimeSpanOf Time, ReadUrgency Urgency)> _reads = [];
    private readonly List<TimeSpanOf> _waits = [];
    private readonly TieredExpertStore _store;
    private readonly long _start = Stopwatch.GetTimestamp();

    public StoreTimeline(TieredExpertStore store)
    {
        _store = store;
        store.Readers.PieceDone = (read, _, start, end) =>
        {
            lock (_gate)
            {
                _reads.Add((At(start, end), read.Urgency));
            }
        };
        store.StepWaited = (start, end) => _waits.Add(At(start, end));
    }

    /// <summary>Pieces of experts.</summary>
    public IReadOnlyList<(TimeSpanOf Time, ReadUrgency Urgency)> Reads => _reads;

    /// <summary>When a step could not go on.</summary>
    public IReadOnlyList<TimeSpanOf> Waits => _waits;

    public double Seconds { get; private set; }

    public void Stop()
    {
        Seconds = Stopwatch.GetElapsedTime(_start).TotalSeconds;
        _store.Readers.PieceDone = null;
        _store.StepWaited = null;
    }

    private TimeSpanOf At(long start, long end) => new((start - _start) / (double)Stopwatch.Frequency, (end - _start) / (double)Stopwatch.Frequency);
}
