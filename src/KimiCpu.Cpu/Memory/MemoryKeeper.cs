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

    /// <summary>Bytes to give back or not to take, where positive, or that may be taken beyond those that are promised, where negative; 0 while all is well, it is too early to ask again, or nothing new is known.</summary>
    /// <param name="promised">Bytes that may be taken before the next look, and that nobody uses yet.</param>
    public long Excess(long promised)
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
        if (free < reserve / 2)
        {
            // What nobody has taken gives nothing back when it is given up, so all of that, and as much as is missing.
            return reserve - free + promised;
        }

        long left = free - promised;
        return left < reserve / 2 ? (reserve / 2) - left : left > 2 * reserve ? (2 * reserve) - left : 0;
    }
}
