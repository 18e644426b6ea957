// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Generation;

namespace KimiCpu;

/// <summary>Tells listeners of one call: begun when made, ended by <see cref="Dispose"/> at the latest.</summary>
internal sealed class CallTelemetry : IDisposable
{
    /// <summary>The call answers messages.</summary>
    public const string Chat = "chat";

    /// <summary>The call continues token ids.</summary>
    public const string Completion = "text_completion";

    private readonly TagList _tags;
    private readonly Activity? _activity;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly TimeSpan _preparation;
    private bool _ended;

    /// <param name="model">Its name.</param>
    /// <param name="operation">In the words of the GenAI conventions.</param>
    /// <param name="preparation">What the call has taken already, which is a part of its time.</param>
    public CallTelemetry(string model, string operation, TimeSpan preparation)
    {
        _preparation = preparation;
        _tags = new TagList
        {
            { "gen_ai.operation.name", operation },
            { "gen_ai.provider.name", "kimicpu" },
            { "gen_ai.request.model", model },
        };
        Listeners.Tell(KimiTelemetry.Active, 1, _tags);
        _activity = Listeners.Start(KimiTelemetry.Source, $"generate {model}", _tags, DateTimeOffset.UtcNow - preparation);
    }

    /// <summary>The call has its answer.</summary>
    public void Finish(GenerationResult result)
    {
        (GenerationUsage usage, GenerationTimings timings) = (result.Usage, result.Timings);
        TimeSpan first = timings.Queued + timings.Prefill;
        Listeners.Tell(KimiTelemetry.TimeToFirstToken, first.TotalSeconds, _tags);
        Listeners.Tell(KimiTelemetry.QueueTime, timings.Queued.TotalSeconds, _tags);
        Count(usage);
        Listeners.Tell(KimiTelemetry.PrefillRate, timings.PrefillTokensPerSecond, _tags);
        if (timings.DecodeTokensPerSecond > 0)
        {
            Listeners.Tell(KimiTelemetry.TimePerOutputToken, 1 / timings.DecodeTokensPerSecond, _tags);
            Listeners.Tell(KimiTelemetry.DecodeRate, timings.DecodeTokensPerSecond, _tags);
            Listeners.Tell(KimiTelemetry.DecodeBandwidth, timings.DecodeBytesPerSecond / 1e9, _tags);
        }

        if (_activity is not null)
        {
            Describe(_activity, result, first);
        }

        End(errorType: null);
    }

    /// <summary>Tells of the tokens of a call, whether it has its answer or not; once.</summary>
    public void Count(GenerationUsage usage)
    {
        Listeners.Tell(KimiTelemetry.PromptTokens, usage.PromptTokens - usage.CachedTokens, With("kimicpu.cached", false));
        Listeners.Tell(KimiTelemetry.PromptTokens, usage.CachedTokens, With("kimicpu.cached", true));
        Listeners.Tell(KimiTelemetry.CompletionTokens, usage.CompletionTokens - usage.ReasoningTokens, With("kimicpu.reasoning", false));
        Listeners.Tell(KimiTelemetry.CompletionTokens, usage.ReasoningTokens, With("kimicpu.reasoning", true));
    }

    /// <summary>The call ends without an answer.</summary>
    public void Fail(Exception error)
    {
        _activity?.SetStatus(ActivityStatusCode.Error, error.Message);
        _activity?.SetTag("error.type", error.GetType().FullName);
        End(error.GetType().FullName);
    }

    /// <summary>Ends what is not ended yet: who leaves a stream early has cancelled the call.</summary>
    public void Dispose()
    {
        if (!_ended)
        {
            Fail(new OperationCanceledException("The stream of the answer was left before its end."));
        }

        Listeners.Stop(_activity);
    }

    private static void Describe(Activity activity, GenerationResult result, TimeSpan first)
    {
        activity.AddEvent(new ActivityEvent("first_token", activity.StartTimeUtc + first));
        activity.SetTag("gen_ai.usage.input_tokens", result.Usage.PromptTokens);
        activity.SetTag("gen_ai.usage.output_tokens", result.Usage.CompletionTokens);
        activity.SetTag("gen_ai.usage.cache_read.input_tokens", result.Usage.CachedTokens);
        activity.SetTag("gen_ai.usage.reasoning.output_tokens", result.Usage.ReasoningTokens);
        activity.SetTag("kimicpu.finish_reason", $"{result.FinishReason}");
        activity.SetTag("kimicpu.request.queue_time", result.Timings.Queued.TotalSeconds);
        activity.SetTag("kimicpu.time_to_first_token", first.TotalSeconds);
        activity.SetTag("kimicpu.prefill.rate", result.Timings.PrefillTokensPerSecond);
        activity.SetTag("kimicpu.decode.rate", result.Timings.DecodeTokensPerSecond);
        activity.SetTag("kimicpu.decode.bandwidth", result.Timings.DecodeBytesPerSecond / 1e9);
        activity.SetTag("kimicpu.decode.drive_bytes", result.Timings.DecodeDriveBytesPerToken);
    }

    private void End(string? errorType)
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        Listeners.Tell(KimiTelemetry.Active, -1, _tags);
        Listeners.Tell(KimiTelemetry.Duration, (_preparation + Stopwatch.GetElapsedTime(_start)).TotalSeconds, errorType is null ? _tags : With("error.type", errorType));
    }

    private TagList With(string key, object value)
    {
        TagList tags = _tags;
        tags.Add(key, value);
        return tags;
    }
}
