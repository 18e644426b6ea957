// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Generation;

/// <summary>Guesses from the times at which calls ended when a queue will have moved on.</summary>
internal sealed class QueueEstimate(TimeProvider time)
{
    private static readonly TimeSpan s_least = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_most = TimeSpan.FromMinutes(10);

    private long _last;
    private double _interval;

    /// <summary>Notes that the model begins to work after it had nothing to do.</summary>
    public void Begin() => Volatile.Write(ref _last, time.GetTimestamp());

    /// <summary>Notes that a call has ended and made room.</summary>
    public void NoteEnd()
    {
        double seconds = time.GetElapsedTime(_last).TotalSeconds;
        Volatile.Write(ref _interval, _interval == 0 ? seconds : (0.8 * _interval) + (0.2 * seconds));
        Begin();
    }

    /// <summary>When half of so many calls will have begun: whole seconds, 1 to 600. Callable from any thread.</summary>
    public TimeSpan RetryAfter(int waiting)
    {
        double interval = Volatile.Read(ref _interval);
        double each = interval > 0 ? interval : time.GetElapsedTime(Volatile.Read(ref _last)).TotalSeconds;
        double seconds = Math.Ceiling(each * Math.Max(1, waiting / 2));
        return TimeSpan.FromSeconds(Math.Clamp(seconds, s_least.TotalSeconds, s_most.TotalSeconds));
    }
}
