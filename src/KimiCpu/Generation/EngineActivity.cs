// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>What the engine did in the last seconds and what it has before it. Written by the engine's thread, read by all.</summary>
internal sealed class EngineActivity(TimeProvider time)
{
    private static readonly TimeSpan s_window = TimeSpan.FromSeconds(5);

    private readonly object _gate = new();
    private readonly Queue<Step> _steps = new();
    private KimiModelActivity _state = new();

    /// <summary>Calls have come; they wait until the engine's next <see cref="NoteState"/>.</summary>
    public void NoteWaiting(int calls)
    {
        lock (_gate)
        {
            _state = _state with { WaitingCalls = _state.WaitingCalls + calls };
        }
    }

    public void NoteState(int running, int waiting, KvCache cache)
    {
        lock (_gate)
        {
            // Before calls begin again: they are not to keep a step of long ago.
            DropOld();
            _state = _state with
            {
                RunningCalls = running,
                WaitingCalls = waiting,
                CachePages = cache.PageCapacity,
                UsedCachePages = cache.PageCapacity - cache.FreePages,
                ReusableCachePages = cache.ReusablePages,
            };
        }
    }

    /// <param name="took">Time of the step.</param>
    /// <param name="answers">Tokens generated.</param>
    /// <param name="prompts">Prompt tokens taken in.</param>
    /// <param name="bytes">Read from memory.</param>
    /// <param name="driveBytes">Read from drives.</param>
    /// <param name="lookups">Where its experts were found.</param>
    public void NoteStep(TimeSpan took, int answers, int prompts, long bytes, long driveBytes, ExpertLookups lookups)
    {
        lock (_gate)
        {
            _steps.Enqueue(new Step(time.GetTimestamp(), took, answers, prompts, bytes, driveBytes, lookups));
            DropOld();
        }
    }

    /// <param name="bandwidth">Of the memory; null where it is not known.</param>
    public KimiModelActivity Now(double? bandwidth)
    {
        lock (_gate)
        {
            DropOld();
            if (_steps.Count == 0)
            {
                return _state with { MemoryBandwidth = bandwidth };
            }

            // From the beginning of the first step that is kept.
            double seconds = Math.Max((time.GetElapsedTime(_steps.Peek().Time) + _steps.Peek().Took).TotalSeconds, 1e-6);
            ExpertLookups lookups = _steps.Aggregate(default(ExpertLookups), (sum, s) => sum + s.Lookups);
            return _state with
            {
                TokensPerSecond = _steps.Sum(s => s.Answers) / seconds,
                PromptTokensPerSecond = _steps.Sum(s => s.Prompts) / seconds,
                BytesPerSecond = _steps.Sum(s => s.Bytes) / seconds,
                DriveBytesPerSecond = _steps.Sum(s => s.DriveBytes) / seconds,
                ExpertHitRate = lookups.All > 0 ? (double)lookups.Hits / lookups.All : null,
                MemoryBandwidth = bandwidth,
            };
        }
    }

    /// <summary>While calls run the last step stays: the next one may take longer than the window, and rates of zero would say that nothing goes on.</summary>
    private void DropOld()
    {
        while (_steps.Count > (_state.RunningCalls > 0 ? 1 : 0) && time.GetElapsedTime(_steps.Peek().Time) > s_window)
        {
            _steps.Dequeue();
        }
    }

    private readonly record struct Step(long Time, TimeSpan Took, int Answers, int Prompts, long Bytes, long DriveBytes, ExpertLookups Lookups);
}
