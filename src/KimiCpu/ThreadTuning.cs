// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;

namespace KimiCpu;

/// <summary>Finds how many of a pool's threads decode fastest, and lets only those take part.</summary>
internal static class ThreadTuning
{
    /// <summary>For models whose steps take long; small ones are done in a second or two.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <param name="pool">Of the model; its active threads are set.</param>
    /// <param name="timer">Of the model.</param>
    /// <param name="measured">Called after each measurement.</param>
    public static ThreadChoice Find(WorkerPool pool, DecodeTimer timer, Action measured)
    {
        bool warm = false;
        ThreadChoice choice = ThreadSearch.Find(pool.Threads, pool.NodeCount, threads =>
        {
            if (!warm)
            {
                // Brings weights into memory, so that the first count is not measured with the drive.
                warm = true;
                timer.Measure();
            }

            pool.ActiveThreads = threads;
            double? seconds = timer.Measure();
            measured();
            return seconds;
        });
        pool.ActiveThreads = choice.Threads;
        return choice;
    }

    /// <summary>The count that the file knows for the key, or that is measured and then remembered.</summary>
    /// <param name="pool">Of the model; its active threads are set.</param>
    /// <param name="file">Null for nowhere.</param>
    /// <param name="key">Names all that the choice depends on.</param>
    /// <param name="timer">Made only where it is needed.</param>
    /// <param name="measured">Called after each measurement.</param>
    /// <returns>How the count came about, for people.</returns>
    public static string Apply(WorkerPool pool, ThreadChoiceFile? file, string key, Func<DecodeTimer> timer, Action measured)
    {
        if (file?.Find(key, pool.Threads) is { } remembered)
        {
            pool.ActiveThreads = remembered;
            return "remembered as the fastest count";
        }

        ThreadChoice choice = Find(pool, timer(), measured);
        if (choice.Timings.Count > 1)
        {
            file?.TryRemember(key, choice);
        }

        return choice.Timings.Count > 1
            ? "the fastest of " + string.Join(", ", choice.Timings.Select(t => FormattableString.Invariant($"{t.Threads} ({1 / t.Seconds:G3}/s)")))
            : "not compared";
    }
}
