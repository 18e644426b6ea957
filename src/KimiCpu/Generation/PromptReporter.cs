// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Generation;

/// <summary>
/// Tells a caller how far his prompt is: when it begins, when it is done, and now and then between. Never less than before: a call that gave
/// its pages to others may compute once more what it had.
/// </summary>
/// <param name="target">Told. What it throws is kept, since others share the step.</param>
/// <param name="total">Tokens of the prompt.</param>
internal sealed class PromptReporter(IProgress<PromptProgress> target, int total)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(100);

    private long _told;
    private int _most;
    private bool _isDone;

    /// <summary>What the target threw; null for nothing. It is told no more then.</summary>
    public Exception? Error { get; private set; }

    /// <param name="tokens">That are done.</param>
    /// <param name="cached">That were in the cache before the call.</param>
    public void Note(int tokens, int cached)
    {
        bool isDone = tokens >= total;
        if (_isDone || Error is not null || (!isDone && _told != 0 && Stopwatch.GetElapsedTime(_told) < s_pause))
        {
            return;
        }

        _told = Stopwatch.GetTimestamp();
        _isDone = isDone;
        _most = Math.Max(_most, Math.Max(cached, Math.Min(tokens, total)));
        try
        {
            target.Report(new PromptProgress(_most, cached, total));
        }
        catch (Exception e)
        {
            Error = e;
        }
    }
}
