// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Sessions;

/// <summary>
/// Saves and loads what sessions keep in the cache. Pages pass through the engine's thread a few at a time, so that running
/// calls go on meanwhile; files are read and written on the caller's. Who cancels waits for no step: what the engine was asked for is done
/// when it comes to it, in memory of its own, before what is given back is. What was lost with a device, or saved by a model with
/// other arithmetic, is computed again by the next call that needs it; where no call can run any more, only tokens are saved, for a model to come.
/// </summary>
/// <param name="engine">Whose thread owns the cache.</param>
/// <param name="header">Of this model, without counts and what its pages are, which changes with the device.</param>
/// <param name="vocabulary">Token ids run from 0 to this, exclusive.</param>
/// <param name="compute">Computes tokens in a call of a session, which keeps them then, and tells how far it is.</param>
/// <param name="logger">Told of what has to be computed again, and of what is saved without its cache.</param>
/// <param name="batchBytes">What the engine's thread copies at a time, in a few milliseconds.</param>
internal sealed class SessionStore(
    GenerationEngine engine, SessionHeader header, int vocabulary, Func<int[], SessionState, IProgress<PromptProgress>?, CancellationToken, Task> compute, ILogger logger, int batchBytes = 1 << 24)
{
    /// <param name="place">Where; a file is replaced if it exists.</param>
    /// <param name="session">What it keeps is saved.</param>
    /// <param name="application">Bytes of the application.</param>
    /// <param name="progress">Told the part that is done, 0 … 1, computing included.</param>
    /// <param name="cancellationToken">Honoured while it computes and between batches of pages; the unfinished file is deleted, and what a stream has got by then is no session.</param>
    /// <exception cref="KimiException">The device of the cache was lost meanwhile, or what has to be computed could not be.</exception>
    public void Save(SessionPlace place, SessionState session, ReadOnlyMemory<byte> application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        HeldPrefix? held = session.Share(toSave: true);
        int[] tokens = [];
        IProgress<double>? told = progress;
        try
        {
            tokens = held?.Prefix.Tokens() ?? [];
            ModelRunner runner = engine.Runner;
            if (held is { Prefix.Length: > 0 } lost && !lost.IsIn(runner.Cache))
            {
                // To compute may take hours, and a wrong path is told at once.
                place.CheckWritable();

                // Its end gives no page of this cache back, and the call that computes must not wait for any.
                held = null;
                lost.Release(saved: true);
                ComputingSaveProgress? computing = progress is null ? null : new ComputingSaveProgress(progress);
                held = ComputeAgain(session, lost, computing, cancellationToken);
                progress = computing;
            }

            Save(place, held?.Prefix, runner, application, progress, cancellationToken);
        }
        catch (KimiException e) when (engine.Failure is not null && place.TryBeginAgain())
        {
            // No second try would fare better.
            SaveTokens(place, tokens, application, told, cancellationToken);
            KimiLog.SavesTokensOnly(logger, place.Name, tokens.Length, e.Message);
        }
        finally
        {
            held?.Release(saved: true);
        }
    }

    /// <returns>The same tokens in the engine's cache; the caller is an owner, to save them.</returns>
    private HeldPrefix ComputeAgain(SessionState session, HeldPrefix lost, IProgress<PromptProgress>? progress, CancellationToken cancellationToken)
    {
        using var fresh = new SessionState(engine);
        compute(lost.Prefix.Tokens(), fresh, progress, cancellationToken).WaitAsync(cancellationToken).GetAwaiter().GetResult();
        HeldPrefix computed = fresh.Share(toSave: true)!;
        session.Replace(lost, computed);
        return computed;
    }

    private void SaveTokens(SessionPlace place, int[] tokens, ReadOnlyMemory<byte> application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        SessionHeader whole = header with { Arithmetic = SessionHeader.LostPages, BytesPerToken = 0, TokenCount = tokens.Length, ApplicationBytes = application.Length };
        using var writer = new SessionWriter(place, whole, tokens, application.Span);
        progress?.Report(1);
        cancellationToken.ThrowIfCancellationRequested();
        writer.Finish();
    }

    private void Save(SessionPlace place, KvPrefix? held, ModelRunner runner, ReadOnlyMemory<byte> application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        CachedPage[] pages = held?.Pages() ?? [];
        int[] tokens = held?.Tokens() ?? [];
        SessionHeader whole = HeaderOf(runner) with { TokenCount = tokens.Length, ApplicationBytes = application.Length };
        using var writer = new SessionWriter(place, whole, tokens, application.Span);
        var batches = new PageBatches(whole, batchBytes);
        var asked = new Queue<Task<int>>();
        for (int batch = 0, next = 0; batch < batches.Count; batch++)
        {
            for (; next < Math.Min(batches.Count, batch + PageBatches.InFlight); next++)
            {
                asked.Enqueue(Read(next));
            }

            Wait(asked.Dequeue(), cancellationToken);
            foreach (int page in batches.PagesOf(batch))
            {
                writer.WritePage(batches[page]);
            }

            progress?.Report(batches.PartWith(batch));
        }

        if (batches.Count == 0)
        {
            progress?.Report(1);
        }

        cancellationToken.ThrowIfCancellationRequested();
        writer.Finish();

        Task<int> Read(int batch) => Pass(
            batches,
            batch,
            cache =>
            {
                ThrowIfLost(cache == runner.Cache, "saved; nothing was written. Save it again");
                foreach (int page in batches.PagesOf(batch))
                {
                    cache.ReadPage(pages[page], whole.TokensOf(page), batches[page]);
                }
            },
            cancellationToken);
    }

    /// <summary>
    /// Reads a session. Pages of other arithmetic are left where they are: the tokens are computed by the session's next call,
    /// which may not need all of them, shows its progress and can be cancelled.
    /// </summary>
    /// <param name="place">Where it is.</param>
    /// <param name="application">Bytes of the application.</param>
    /// <param name="progress">Told the part that is done, 0 … 1.</param>
    /// <param name="cancellationToken">Honoured between batches of pages; all pages are given back.</param>
    /// <exception cref="SessionFileException">The file is damaged, or not this model's.</exception>
    /// <exception cref="ContextLengthException">The cache has no room for it.</exception>
    public SessionState Load(SessionPlace place, out byte[] application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ModelRunner runner = engine.Runner;
        using var reader = new SessionReader(place, HeaderOf(runner), vocabulary);
        application = reader.Application;
        if (reader.Tokens.Length == 0)
        {
            reader.ReadToEnd(cancellationToken);
            progress?.Report(1);
            return new SessionState(engine);
        }

        ThrowIfTooLong(reader.Tokens.Length, reader.HasUsablePages);
        if (!reader.HasUsablePages)
        {
            reader.ReadToEnd(cancellationToken);
            KimiLog.ComputesAgain(logger, place.Name, reader.Tokens.Length, reader.Header.Arithmetic, runner.Arithmetic);
            progress?.Report(1);
            return new SessionState(engine, cache: null, KvPrefix.WithoutPages(reader.Tokens));
        }

        KvSequence? sequence = null;
        KvPrefix? prefix = null;

        // Calls wait for pages that a file soon gives back, and for no stream, which may be anybody's.
        int passing = place.IsFile ? 1 : 0;
        engine.NotePassing(passing);
        try
        {
            Wait(engine.UseCache(cache =>
            {
                ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
                sequence = cache.CreateSequence(shares: true);
                MakeRoom(cache, sequence, reader.Tokens);
                return sequence;
            }), cancellationToken);
            LoadPages(reader, runner, sequence!, progress, cancellationToken);
            reader.ReadToEnd(cancellationToken);

            // Only now, when all of the file has proved sound, do others see its pages.
            Wait(engine.UseCache(cache =>
            {
                ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
                sequence!.Advance(reader.Tokens.AsSpan(sequence.Length));
                return prefix = sequence.Leave();
            }), cancellationToken);
            return new SessionState(engine, runner.Cache, prefix!.Value);
        }
        catch
        {
            // The engine comes to this when it has done what it was asked for before.
            engine.PostToCache(_ =>
            {
                sequence?.Dispose();
                if (prefix is { } unused)
                {
                    runner.Cache.Release(unused);
                }
            });
            throw;
        }
        finally
        {
            engine.NotePassing(-passing);
        }
    }

    private static void ThrowIfLost(bool isThere, string what)
    {
        if (!isThere)
        {
            throw new KimiException($"The GPU was lost while the session was {what}: the model runs on the CPU now.");
        }
    }

    /// <summary>Tokens without pages need a call, which answers a token more: without room for that the session could never be saved again.</summary>
    private void ThrowIfTooLong(int tokens, bool hasPages)
    {
        int needed = hasPages ? tokens : tokens + 1;
        if (needed > engine.MaxJobTokens)
        {
            string again = hasPages ? "" : " that are to be computed again, which takes room for one more";
            string more = needed > engine.Runner.Cache.ContextLength ? "raise KimiModelOptions.ContextLength" : engine.MoreRoom;
            throw new ContextLengthException($"The session has {tokens:N0} tokens{again}, and the model is open for {engine.MaxJobTokens:N0}. To have more, {more}.");
        }
    }

    private static void MakeRoom(KvCache cache, KvSequence sequence, int[] tokens)
    {
        // Whole pages that the cache has already need no room.
        sequence.Adopt(tokens);
        int missing = tokens.Length - sequence.Length;
        if (!sequence.TryExtend(missing))
        {
            throw new ContextLengthException(
                $"{missing:N0} of the session's {tokens.Length:N0} tokens need {KvCache.PagesFor(missing)} pages of the cache; of {cache.PageCapacity} in its budget {cache.FreePages} are held by nobody. "
                + $"Dispose sessions, wait for calls to end, or {cache.MoreRoom}.");
        }
    }

    private void LoadPages(SessionReader reader, ModelRunner runner, KvSequence sequence, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        var batches = new PageBatches(reader.Header, batchBytes);
        var asked = new Queue<Task<int>>();
        for (int batch = 0; batch < batches.Count; batch++)
        {
            if (asked.Count == PageBatches.InFlight)
            {
                End(asked.Dequeue());
            }

            foreach (int page in batches.PagesOf(batch))
            {
                reader.ReadPage(page, batches[page]);
            }

            asked.Enqueue(Write(batch));
        }

        while (asked.TryDequeue(out Task<int>? last))
        {
            End(last);
        }

        void End(Task<int> write)
        {
            int batch = Wait(write, cancellationToken);
            progress?.Report(batches.PartWith(batch));
        }

        Task<int> Write(int batch) => Pass(
            batches,
            batch,
            cache =>
            {
                ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
                foreach (int page in batches.PagesOf(batch).Where(p => p >= sequence.Length / KvPage.Tokens))
                {
                    sequence.Write(page, reader.Header.TokensOf(page), batches[page]);
                }
            },
            cancellationToken);
    }

    /// <summary>Passes a batch through the engine's thread, but not behind one that has failed: a device that fails is not tried again for nobody.</summary>
    private Task<int> Pass(PageBatches batches, int batch, Action<KvCache> pass, CancellationToken cancellationToken) => engine.UseCache(cache =>
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (batches.Passed != batch)
        {
            throw new OperationCanceledException("The batch before has failed.");
        }

        pass(cache);
        batches.Passed++;
        return batch;
    });

    private SessionHeader HeaderOf(ModelRunner runner) => header with { Arithmetic = runner.Arithmetic, BytesPerToken = runner.Cache.BytesPerToken };

    private static T Wait<T>(Task<T> outcome, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return outcome.WaitAsync(cancellationToken).GetAwaiter().GetResult();
    }
}
