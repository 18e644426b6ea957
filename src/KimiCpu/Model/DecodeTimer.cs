// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Model;

/// <summary>
/// Times decoding: steps of one token of a sequence of its own, always the same tokens, so that each measurement chooses the
/// same experts and finds them as well cached as the one before.
/// </summary>
internal sealed class DecodeTimer
{
    private const int FewestSteps = 3;

    /// <summary>Then the sequence begins anew: the cost of attention stays out of it.</summary>
    public const int MostTokens = 64;

    private static readonly TimeSpan s_enough = TimeSpan.FromMilliseconds(150);

    private readonly ForwardPass _forward;
    private readonly KvCache _cache;
    private readonly TimeSpan _limit;
    private readonly Action _between;
    private readonly RaggedBatch _batch = new();
    private readonly float[] _logits;
    private readonly long _start = Stopwatch.GetTimestamp();

    /// <param name="forward">Used by nobody else meanwhile.</param>
    /// <param name="cache">Of the forward pass's hot path; all pages come back.</param>
    /// <param name="limit">Of all measurements together; the one that exceeds it ends at the next step.</param>
    /// <param name="between">Called before each step; may throw to end a measurement.</param>
    public DecodeTimer(ForwardPass forward, KvCache cache, TimeSpan limit, Action between)
    {
        _forward = forward;
        _cache = cache;
        _limit = limit;
        _between = between;
        _logits = new float[forward.Shape.VocabularySize];
    }

    private bool IsOutOfTime => Stopwatch.GetElapsedTime(_start) > _limit;

    /// <summary>The median of some steps after one that warms up, in seconds; null when there was no time for them.</summary>
    public double? Measure()
    {
        var seconds = new List<double>();
        double sum = 0;
        int length = Math.Min(MostTokens, _cache.ContextLength);
        while (seconds.Count < FewestSteps || sum < s_enough.TotalSeconds)
        {
            using KvSequence sequence = _cache.CreateSequence();
            for (int i = 0; i < length && (seconds.Count < FewestSteps || sum < s_enough.TotalSeconds); i++)
            {
                _between();
                if (IsOutOfTime || !sequence.TryExtend(1))
                {
                    return null;
                }

                long before = Stopwatch.GetTimestamp();
                Step(sequence, i);
                if (i > 0 || length == 1)
                {
                    seconds.Add(Stopwatch.GetElapsedTime(before).TotalSeconds);
                    sum += seconds[^1];
                }
            }
        }

        seconds.Sort();
        return seconds[seconds.Count / 2];
    }

    private void Step(KvSequence sequence, int index)
    {
        // Some token or other, spread over the vocabulary.
        int token = (int)((index * 2654435761L + 12345) % _logits.Length);
        _batch.Clear();
        _batch.Add([token], sequence.Length, sequence.Pages, LogitsWanted.Last);
        _forward.Run(_batch, _logits);
        sequence.Advance(1);
    }
}
