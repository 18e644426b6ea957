// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cpu;

/// <summary>
/// Watches what memory is left, so that a store gives some back before the system swaps or kills the process, and takes it
/// again when others have gone. Between giving and taking lies a gap, or both would alternate.
/// </summary>
/// <param name="reserve">Bytes that are to stay free.</param>
/// <param name="available">What the process may still take; asked at most a few times a second.</param>
internal sealed class MemoryKeeper(long reserve, Func<long> available)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(250);

    private long _asked;

    /// <summary>Bytes to give back, where positive, or that may be taken, where negative; 0 while all is well or it is too early to ask again.</summary>
    public long Excess()
    {
        if (_asked != 0 && Stopwatch.GetElapsedTime(_asked) < s_pause)
        {
            return 0;
        }

        _asked = Stopwatch.GetTimestamp();
        long free = available();
        return free < reserve / 2 ? reserve - free : free > 2 * reserve ? (2 * reserve) - free : 0;
    }
}
