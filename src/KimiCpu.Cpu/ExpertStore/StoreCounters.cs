// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cpu;

/// <summary>What a store has done since it was opened; written by the thread that runs the model.</summary>
internal sealed class StoreCounters
{
    private long _waitedTicks;

    /// <summary>Experts that were there when a step needed them.</summary>
    public long Hits { get; set; }

    /// <summary>Experts that were already being read.</summary>
    public long Late { get; set; }

    /// <summary>Experts that had to be read.</summary>
    public long Misses { get; set; }

    /// <summary>How long steps have waited for experts.</summary>
    public TimeSpan Waited => Stopwatch.GetElapsedTime(0, _waitedTicks);

    public double HitRate => (double)Hits / Math.Max(1, Hits + Late + Misses);

    public void Wait(long ticks) => _waitedTicks += ticks;
}
