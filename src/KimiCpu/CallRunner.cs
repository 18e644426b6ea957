// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Generation;
using Microsoft.Extensions.Logging;

namespace KimiCpu;

/// <summary>Brings prepared calls through the engine, with telemetry and log. Safe to use from several threads.</summary>
/// <param name="engine">Runs them.</param>
/// <param name="calls">Makes their jobs.</param>
/// <param name="model">Its name, for listeners.</param>
/// <param name="logger">Told how each one went.</param>
internal sealed class CallRunner(GenerationEngine engine, CallPreparation calls, string model, ILogger logger)
{
    public GenerationJob Submit(PreparedCall call, SessionState? session, bool streamed, CancellationToken cancellationToken)
    {
        GenerationJob job = calls.MakeJob(call, streamed, cancellationToken);
        job.Session = session;
        engine.Submit(job);
        return job;
    }

    public GenerationResult Run(PreparedCall call, SessionState? session, CancellationToken cancellationToken)
    {
        using var telemetry = new CallTelemetry(model, call.Operation);
        try
        {
            GenerationJob job = Submit(call, session, streamed: false, cancellationToken);
            GenerationResult result = job.Completion.GetAwaiter().GetResult();
            Report(result, telemetry);
            return result;
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    public async IAsyncEnumerable<GenerationUpdate> Stream(PreparedCall call, SessionState? session, CancellationToken callerToken, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // Also cancelled when the consumer leaves the loop early, so that the engine stops working for nobody.
        using var source = CancellationTokenSource.CreateLinkedTokenSource(callerToken, cancellationToken);
        using var telemetry = new CallTelemetry(model, call.Operation);
        try
        {
            GenerationJob job = SubmitStream(call, session, telemetry, source.Token);
            while (await MoreUpdates(job, telemetry).ConfigureAwait(false))
            {
                while (job.Updates.TryRead(out GenerationUpdate? update))
                {
                    if (update.Result is not null)
                    {
                        Report(update.Result, telemetry);
                    }

                    yield return update;
                }
            }
        }
        finally
        {
            await source.CancelAsync().ConfigureAwait(false);
        }
    }

    private GenerationJob SubmitStream(PreparedCall call, SessionState? session, CallTelemetry telemetry, CancellationToken cancellationToken)
    {
        try
        {
            return Submit(call, session, streamed: true, cancellationToken);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    /// <summary>Whether there are updates to read; waits for them.</summary>
    private static async ValueTask<bool> MoreUpdates(GenerationJob job, CallTelemetry telemetry)
    {
        try
        {
            return await job.Updates.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    private void Report(GenerationResult result, CallTelemetry telemetry)
    {
        telemetry.Finish(result);
        GenerationTimings timings = result.Timings;
        KimiLog.Answered(
            logger,
            result.Usage.PromptTokens,
            result.Usage.CachedTokens,
            timings.PrefillTokensPerSecond,
            result.Usage.CompletionTokens,
            timings.DecodeTokensPerSecond,
            timings.DecodeBytesPerToken / 1e6,
            timings.DecodeBytesPerSecond / 1e9,
            result.FinishReason);
        if (timings.MemoryBandwidthShare is { } share)
        {
            KimiLog.ReachedOfMemory(logger, share, timings.DecodeBytesPerSecond / share / 1e9);
        }
    }
}
