// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Weights;

/// <summary>How long drives may be silent before somebody who waits for them gives up. Several readers share it: each answer is one for all. Safe for several threads.</summary>
/// <param name="patience">That long.</param>
internal sealed class DrivePatience(TimeSpan patience)
{
    private long _answered = Stopwatch.GetTimestamp();

    /// <summary>As much as the store's steps have.</summary>
    public static TimeSpan Default { get; } = TimeSpan.FromSeconds(30);

    /// <summary>Why somebody has given up.</summary>
    public string Problem => $"The drive has not answered for {patience.TotalSeconds:F0} seconds.";

    /// <summary>A drive has answered just now.</summary>
    public void NoteAnswer() => Interlocked.Exchange(ref _answered, Stopwatch.GetTimestamp());

    /// <summary>Waits for a read by a thread of its own, which is left behind where patience ends first.</summary>
    /// <returns>Whether it has ended, well or not.</returns>
    public bool TryWait(Task read)
    {
        long start = Stopwatch.GetTimestamp();
        while (Task.WaitAny([read], LeftSince(start)) < 0)
        {
            if (LeftSince(start) == TimeSpan.Zero)
            {
                // Nobody else would look at how it ended.
                _ = read.ContinueWith(r => r.Exception, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
                return false;
            }
        }

        return true;
    }

    /// <summary>How much of it is left; zero for none.</summary>
    /// <param name="start">When the one who asks began to wait (<see cref="Stopwatch"/> ticks): what was silent before has its chance again.</param>
    public TimeSpan LeftSince(long start)
    {
        TimeSpan left = patience - Stopwatch.GetElapsedTime(Math.Max(start, Interlocked.Read(ref _answered)));
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }
}
