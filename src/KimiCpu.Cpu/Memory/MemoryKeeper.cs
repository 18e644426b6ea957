// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cpu;

/// <summary>
/// Watches what memory is left, so that a store gives some back before the system swaps or kills the process, and takes it
/// again when others have gone. Between giving and taking lies a gap, or both would alternate.
/// </summary>
/// <param name="reserve">Bytes that are to stay free.</param>
/// <param name="now">What memory there is; asked at most a few times a second.</param>
internal sealed class MemoryKeeper(long reserve, Func<ProcessMemory> now)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    private long _asked;
    private long? _collection;

    /// <summary>Bytes to give back, where positive, or that may be taken, where negative; 0 while all is well, it is too early to ask again, or nothing new is known.</summary>
    public long Excess()
    {
        if (_asked != 0 && Stopwatch.GetElapsedTime(_asked) < s_pause)
        {
            return 0;
        }

        _asked = Stopwatch.GetTimestamp();
        ProcessMemory memory = now();

        // What was given back since does not show in the same reading: each look at it would give back as much again.
        if (memory.Collection is { } collection && collection == _collection)
        {
            return 0;
        }

        _collection = memory.Collection;
        long free = memory.UnusedBytes;
        return free < reserve / 2 ? reserve - free : free > 2 * reserve ? (2 * reserve) - free : 0;
    }
}
