// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>What other threads want done with the cache, in order; the engine's thread does it between steps. Safe for all threads.</summary>
/// <param name="cache">Gives the one to be used now; a call at which its device fails may be followed by another one.</param>
/// <param name="recover">Called on the engine's thread when the cache's device fails; gives what to tell the caller.</param>
internal sealed class CacheCalls(Func<KvCache> cache, Func<DeviceException, KimiException> recover)
{
    /// <summary>Between steps, calls that come one after the other may take this part of a step's time.</summary>
    private const int PartOfStep = 10;

    /// <summary>Somebody who has had his turn, and has meanwhile read or written a file, comes again within this time or not before the next step.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromMilliseconds(20);

    private readonly object _gate = new();
    private readonly Queue<(Action<KvCache?> Use, bool IsAwaited)> _calls = new();
    private TimeSpan _owed;
    private bool _ended;

    public bool Any => Count() > 0;

    /// <exception cref="ObjectDisposedException">The engine has ended.</exception>
    public Task<T> Add<T>(Func<KvCache, T> use)
    {
        var outcome = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        ObjectDisposedException.ThrowIf(!TryAdd(Use, isAwaited: true), typeof(KimiModel));
        return outcome.Task;

        void Use(KvCache? current)
        {
            try
            {
                ObjectDisposedException.ThrowIf(current is null, typeof(KimiModel));
                outcome.SetResult(use(current));
            }
            catch (Exception e)
            {
                outcome.SetException(e is DeviceException failure ? recover(failure) : e);

                // Who asked may have gone away.
                _ = outcome.Task.Exception;
            }
        }
    }

    /// <summary>Adds what needs no answer; once the engine has ended there is nothing to be done.</summary>
    public void Post(Action<KvCache> use)
    {
        TryAdd(Use, isAwaited: false);

        void Use(KvCache? current)
        {
            if (current is not null)
            {
                use(current);
            }
        }
    }

    /// <summary>Does what has come until now.</summary>
    /// <param name="besideCalls">Whether calls move: then only what needs no time, until something comes that does. That has its time behind the steps.</param>
    public void Run(bool besideCalls)
    {
        // No more, or those who come again as fast as they are served would keep the calls waiting.
        for (int count = Count(); count > 0 && Next(postedOnly: besideCalls) is { } call; count--)
        {
            call.Use(cache());
        }

        _owed = besideCalls ? _owed : TimeSpan.Zero;
    }

    /// <summary>
    /// Goes on behind a step with what has come meanwhile, and with what follows on it: one call a step would take as long for a
    /// session's pages as thousands of steps. What takes more than its part of this step has that much less of the next ones.
    /// </summary>
    /// <param name="step">How long the step has taken.</param>
    /// <returns>Whether anything was done.</returns>
    public bool Serve(TimeSpan step)
    {
        long start = Stopwatch.GetTimestamp();
        (bool served, bool comesAgain) = (false, false);
        TimeSpan part = (step / PartOfStep) - _owed;
        TimeSpan left;
        for (left = part; left > TimeSpan.Zero; left = part - Stopwatch.GetElapsedTime(start))
        {
            if (Next() is { } call)
            {
                call.Use(cache());
                (served, comesAgain) = (true, comesAgain || call.IsAwaited);
            }
            else if (!comesAgain || !WaitForNext(left < s_patience ? left : s_patience))
            {
                break;
            }
        }

        _owed = left < TimeSpan.Zero ? -left : TimeSpan.Zero;
        return served;
    }

    /// <summary>Fails what is waiting and refuses the rest.</summary>
    public void End()
    {
        lock (_gate)
        {
            _ended = true;
        }

        while (Next() is { } call)
        {
            call.Use(null);
        }
    }

    private bool TryAdd(Action<KvCache?> use, bool isAwaited)
    {
        lock (_gate)
        {
            if (!_ended)
            {
                _calls.Enqueue((use, isAwaited));
                Monitor.Pulse(_gate);
            }

            return !_ended;
        }
    }

    private int Count()
    {
        lock (_gate)
        {
            return _calls.Count;
        }
    }

    private (Action<KvCache?> Use, bool IsAwaited)? Next(bool postedOnly = false)
    {
        lock (_gate)
        {
            return _calls.TryPeek(out (Action<KvCache?> Use, bool IsAwaited) call) && !(postedOnly && call.IsAwaited) ? _calls.Dequeue() : null;
        }
    }

    private bool WaitForNext(TimeSpan time)
    {
        lock (_gate)
        {
            return _calls.Count > 0 || Monitor.Wait(_gate, time);
        }
    }
}
