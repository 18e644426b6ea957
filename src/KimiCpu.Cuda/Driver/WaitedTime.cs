// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cuda.Driver;

/// <summary>
/// How long a thread has waited, looking now and then. The time between two looks counts up to a limit only: a process that
/// was stopped meanwhile, by a debugger or a container's freezer, has not waited, and the GPU may have been stopped with it.
/// </summary>
internal struct WaitedTime()
{
    private static readonly TimeSpan s_mostBetweenLooks = TimeSpan.FromMilliseconds(100);

    private long _lastLook = Stopwatch.GetTimestamp();
    private TimeSpan _sum;

    /// <summary>Looks.</summary>
    /// <returns>The time so far.</returns>
    public TimeSpan Look()
    {
        long now = Stopwatch.GetTimestamp();
        TimeSpan passed = Stopwatch.GetElapsedTime(_lastLook, now);
        _sum += passed < s_mostBetweenLooks ? passed : s_mostBetweenLooks;
        _lastLook = now;
        return _sum;
    }
}
