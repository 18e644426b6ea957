// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;

namespace KimiCpu;

/// <summary>Finds how many of a pool's threads decode fastest, and lets only those take part in steps of few rows.</summary>
internal static class ThreadTuning
{
    /// <summary>For models whose steps take long; small ones are done in a second or two.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <param name="pool">Of the model; its threads for decoding are set.</param>
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

            pool.DecodingThreads = threads;
            double? seconds = timer.Measure();
            measured();
            return seconds;
        });
        pool.DecodingThreads = choice.Threads;
        return choice;
    }

    /// <summary>The count that a file knows, of the user's or of the options, or that is measured and then remembered.</summary>
    /// <param name="subject">What the choice depends on; its pool's threads for decoding are set.</param>
    /// <param name="runner">Used by nobody else meanwhile.</param>
    /// <returns>How the count came about, for people.</returns>
    public static string Apply(Subject subject, ModelRunner runner)
    {
        KimiModelOptions options = subject.Options;
        ThreadChoiceFile? file = options.ThreadsFile is { } path ? new ThreadChoiceFile(path) : ThreadChoiceFile.OfUser;
        WorkerPool pool = subject.Cpu.Pool;
        string key = subject.Key;
        if (file?.Find(key, pool.Threads) is { } remembered)
        {
            pool.DecodingThreads = remembered;
            return "remembered as the fastest count";
        }

        int measurements = 0;
        long reported = 0;
        ThreadChoice choice = Find(pool, new DecodeTimer(runner.Forward, runner.Cache, Limit, Report), () => measurements++);
        if (choice.Timings.Count > 1)
        {
            file?.TryRemember(key, choice);
        }

        return choice.Timings.Count > 1
            ? "the fastest of " + string.Join(", ", choice.Timings.Select(t => FormattableString.Invariant($"{t.Threads} ({1 / t.Seconds:G3}/s)")))
            : "not compared";

        // Before each step, but told a few times a second; a cancelled opening ends here. The total is not known.
        void Report()
        {
            if (reported == 0 || Stopwatch.GetElapsedTime(reported).TotalSeconds > 0.2)
            {
                reported = Stopwatch.GetTimestamp();
                options.Progress?.Report(new LoadProgress("threads", measurements, measurements + 1));
            }
        }
    }

    /// <summary>All that the choice depends on.</summary>
    public sealed record Subject(Checkpoint Checkpoint, ModelShape Shape, KimiModelOptions Options, CpuBackend Cpu)
    {
        /// <summary>Names it for the file.</summary>
        public string Key
        {
            get
            {
                WorkerPool pool = Cpu.Pool;
                CpuTopology machine = CpuTopology.OfThisProcess;
                string version = typeof(KimiModel).Assembly.GetName().Version?.ToString() ?? "";
                return $"KimiCpu {version}; {CpuFeatures.Name}, {CpuFeatures.Description}, {Cpu.Kernel.Kind}; "
                    + $"{machine.PhysicalCores.Count} cores, {machine.Processors.Count} processors, quota {machine.Quota}, {pool.NodeCount} nodes, at most {pool.Threads} threads{(pool.OnCores ? " on cores" : "")}; "
                    + $"{Checkpoint.Name}, {Checkpoint.TensorBytes} bytes, {Shape.LayerCount} layers of {Shape.HiddenSize}, {Shape.ExpertsPerToken} of {Shape.ExpertCount} experts of {Shape.ExpertIntermediateSize}; "
                    + $"{(Options.Exact ? "exact" : "fast")}{(Cpu.CopiedBytes > 0 ? ", 8-bit copies" : "")}{(Cpu.HasHotPath ? "" : ", hot path on a GPU")}{(Cpu.Store is TieredExpertStore ? ", experts from drives" : "")}";
            }
        }
    }
}
