// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.ComponentModel;

namespace KimiCpu.Samples.Agent;

/// <summary>Timers that say when they are over.</summary>
/// <param name="output">Where they say so.</param>
public sealed class Timers(TextWriter output) : IDisposable
{
    private readonly ConcurrentBag<Timer> _timers = [];

    /// <summary>Starts a timer.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It would last less than a minute or more than a day.</exception>
    public string Set([Description("Number of minutes")] int minutes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(minutes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minutes, 24 * 60);
        _timers.Add(new Timer(_ => output.WriteLine($"\a({minutes} minutes are over)"), null, TimeSpan.FromMinutes(minutes), Timeout.InfiniteTimeSpan));
        return "ok";
    }

    public void Dispose()
    {
        foreach (Timer timer in _timers)
        {
            timer.Dispose();
        }
    }
}
