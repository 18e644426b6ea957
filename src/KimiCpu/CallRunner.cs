// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.CompilerServices;
using KimiCpu.Chat;
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
    /// <summary>Prepares a call that there is room for. Who listens hears of those that fail here, too.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="waits">Whether the caller's thread is to wait for the answer.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    public PreparedCall Prepare(IEnumerable<KimiMessage> messages, GenerationOptions? options, bool waits, CancellationToken cancellationToken) =>
        Prepare(CallTelemetry.Chat, waits, () => calls.Prepare(messages, options, cancellationToken, engine.ThrowIfNoMoreCalls));

    /// <summary>Prepares a call that there is room for. Who listens hears of those that fail here, too.</summary>
    /// <param name="tokens">The prompt.</param>
    /// <param name="options">Null for the defaults.</param>
    /// <param name="waits">Whether the caller's thread is to wait for the answer.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    public PreparedCall Prepare(ReadOnlyMemory<int> tokens, GenerationOptions? options, bool waits, CancellationToken cancellationToken) =>
        Prepare(CallTelemetry.Completion, waits, () => calls.Prepare(tokens, options, cancellationToken, engine.ThrowIfNoMoreCalls));

    /// <summary>Prepares a call that there is room for, on other threads than the caller's. Who listens hears of those that fail here, too.</summary>
    /// <param name="messages">In order.</param>
    /// <param name="options">What is known of them without much work.</param>
    /// <param name="complete">Gives all of them; it is not asked for a call that there is no room for.</param>
    /// <param name="cancellationToken">Ends the preparation.</param>
    public async Task<PreparedCall> PrepareAsync(IEnumerable<KimiMessage> messages, GenerationOptions options, Func<Task<GenerationOptions>> complete, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        try
        {
            calls.Check(options);
            engine.ThrowIfNoMoreCalls();
            GenerationOptions whole = await complete().ConfigureAwait(false);
            PreparedCall call = await Task.Run(() => calls.Prepare(messages, whole, cancellationToken, engine.ThrowIfNoMoreCalls), cancellationToken).ConfigureAwait(false);
            return call with { Preparation = Stopwatch.GetElapsedTime(start) };
        }
        catch (Exception e)
        {
            TellRefused(CallTelemetry.Chat, start, e);
            throw;
        }
    }

    /// <summary>Computes what a session is to keep, however long it takes.</summary>
    public Task Compute(PreparedCall call, SessionState session, CancellationToken cancellationToken) =>
        Submit(calls.MakeJob(call, streamed: false, cancellationToken, hasTime: true), session).Completion;

    public GenerationResult Run(PreparedCall call, SessionState? session, CancellationToken cancellationToken)
    {
        using var telemetry = new CallTelemetry(model, call.Operation, call.Preparation);
        GenerationJob? job = null;
        try
        {
            job = Submit(calls.MakeJob(call, streamed: false, cancellationToken), session);

            // Who has cancelled has nothing more to wait for, and the step may be one of others and take minutes. A session's call is waited for: the session has its tokens then.
            if (session is null)
            {
                // Not WaitAsync, of whose end a free thread of the pool would have to tell this one: callers may hold them all.
                Task.WaitAny([job.Completion], cancellationToken);
            }

            GenerationResult result = job.Completion.GetAwaiter().GetResult();
            Report(result, telemetry);
            return result;
        }
        catch (Exception e)
        {
            CountInVain(job, telemetry);
            telemetry.Fail(e);
            throw;
        }
    }

    public async IAsyncEnumerable<GenerationUpdate> Stream(PreparedCall call, SessionState? session, CancellationToken callerToken, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // Also cancelled when the consumer leaves the loop early, so that the engine stops working for nobody.
        using var source = CancellationTokenSource.CreateLinkedTokenSource(callerToken, cancellationToken);
        using var telemetry = new CallTelemetry(model, call.Operation, call.Preparation);
        GenerationJob job = SubmitStream(call, session, telemetry, source.Token);
        bool ended = false;
        try
        {
            // As above: who has cancelled waits for a session only.
            CancellationToken waiting = session is null ? source.Token : CancellationToken.None;
            while (await MoreUpdates(job, telemetry, waiting, callerToken, cancellationToken).ConfigureAwait(false))
            {
                while (job.Updates.TryRead(out GenerationUpdate? update))
                {
                    // Who has cancelled is shown no more of what waits to be read.
                    if (source.IsCancellationRequested)
                    {
                        continue;
                    }

                    if (update.Result is not null)
                    {
                        ended = true;
                        Report(update.Result, telemetry);
                    }

                    yield return update;
                }
            }

            if (!ended)
            {
                throw Cancelled(telemetry, callerToken, cancellationToken);
            }
        }
        finally
        {
            // Before anything is awaited, which may end on another thread.
            bool isEngine = engine.IsOnOwnThread;
            await source.CancelAsync().ConfigureAwait(false);
            if (!ended)
            {
                CountInVain(job, telemetry);
            }

            // Who leaves early goes on with the session as who cancels does; but the engine cannot wait for itself.
            if (session is not null && !isEngine)
            {
                await ((Task)job.Completion).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private PreparedCall Prepare(string operation, bool waits, Func<PreparedCall> prepare)
    {
        if (waits)
        {
            // Before anybody hears that the model is full and tries again, which would keep it so.
            engine.ThrowIfOnOwnThread();
        }

        long start = Stopwatch.GetTimestamp();
        try
        {
            PreparedCall call = prepare();
            return call with { Preparation = Stopwatch.GetElapsedTime(start) };
        }
        catch (Exception e)
        {
            TellRefused(operation, start, e);
            throw;
        }
    }

    private void TellRefused(string operation, long start, Exception error)
    {
        using var telemetry = new CallTelemetry(model, operation, Stopwatch.GetElapsedTime(start));
        telemetry.Fail(error);
    }

    private GenerationJob Submit(GenerationJob job, SessionState? session)
    {
        job.Session = session;
        engine.Submit(job);
        return job;
    }

    private GenerationJob SubmitStream(PreparedCall call, SessionState? session, CallTelemetry telemetry, CancellationToken cancellationToken)
    {
        try
        {
            return Submit(calls.MakeJob(call, streamed: true, cancellationToken), session);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    /// <summary>Counts the tokens of a call without an answer, which are known when the engine has let go of it: its caller may have gone by then.</summary>
    private static void CountInVain(GenerationJob? job, CallTelemetry telemetry) =>
        _ = job?.Completion.ContinueWith(_ => telemetry.Count(job.Computed), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);

    /// <summary>Whether there are updates to read; waits for them.</summary>
    private static async ValueTask<bool> MoreUpdates(GenerationJob job, CallTelemetry telemetry, CancellationToken waiting, CancellationToken callerToken, CancellationToken cancellationToken)
    {
        try
        {
            return await job.Updates.WaitToReadAsync(waiting).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (callerToken.IsCancellationRequested || cancellationToken.IsCancellationRequested)
        {
            throw Cancelled(telemetry, callerToken, cancellationToken);
        }
        catch (Exception e)
        {
            telemetry.Fail(e);
            throw;
        }
    }

    /// <summary>The engine knows a token that was linked for the call; callers know their own.</summary>
    private static OperationCanceledException Cancelled(CallTelemetry telemetry, CancellationToken callerToken, CancellationToken cancellationToken)
    {
        var exception = new OperationCanceledException(callerToken.IsCancellationRequested ? callerToken : cancellationToken);
        telemetry.Fail(exception);
        return exception;
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
            timings.DecodeDriveBytesPerToken / 1e6,
            timings.DecodeBytesPerSecond / 1e9,
            result.FinishReason);
        if (timings.MemoryBandwidthShare is { } share)
        {
            KimiLog.ReachedOfMemory(logger, share, timings.DecodeBytesPerSecond / share / 1e9);
        }
    }
}
