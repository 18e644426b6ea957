// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Sessions;

/// <summary>
/// Saves and loads what sessions keep in the cache. Pages pass through the engine's thread a few at a time, so that running
/// calls go on meanwhile; files are read and written on the caller's. What was lost with a device, or saved by a model with
/// other arithmetic, is computed again by the next call that needs it.
/// </summary>
/// <param name="engine">Whose thread owns the cache.</param>
/// <param name="header">Of this model, without counts and what its pages are, which changes with the device.</param>
/// <param name="vocabulary">Token ids run from 0 to this, exclusive.</param>
/// <param name="compute">Computes tokens in a call of a session, which keeps them then, and tells how far it is.</param>
/// <param name="logger">Told of what has to be computed again.</param>
internal sealed class SessionStore(GenerationEngine engine, SessionHeader header, int vocabulary, Func<int[], SessionState, IProgress<PromptProgress>?, CancellationToken, Task> compute, ILogger logger)
{
    /// <summary>Copying so many bytes between two steps takes a few milliseconds.</summary>
    private const int BatchBytes = 1 << 24;

    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="session">What it keeps is saved.</param>
    /// <param name="application">Bytes of the application.</param>
    /// <param name="progress">Told the part that is done, 0 … 1, computing included.</param>
    /// <param name="cancellationToken">Honoured while it computes and between batches of pages; the unfinished file is deleted.</param>
    /// <exception cref="KimiException">The device of the cache was lost meanwhile.</exception>
    public void Save(string path, SessionState session, ReadOnlyMemory<byte> application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        HeldPrefix? held = session.Share();
        try
        {
            ModelRunner runner = engine.Runner;
            if (held is not null && !held.IsIn(runner.Cache))
            {
                ComputingSaveProgress? computing = progress is null ? null : new ComputingSaveProgress(progress);
                HeldPrefix computed = ComputeAgain(session, held, computing, cancellationToken);
                held.Release();
                (held, progress) = (computed, computing);
            }

            Save(path, held?.Prefix, runner, application, progress, cancellationToken);
        }
        finally
        {
            held?.Release();
        }
    }

    /// <returns>The same tokens in the engine's cache; the caller is an owner.</returns>
    private HeldPrefix ComputeAgain(SessionState session, HeldPrefix lost, IProgress<PromptProgress>? progress, CancellationToken cancellationToken)
    {
        using var fresh = new SessionState(engine);
        compute(lost.Prefix.Tokens(), fresh, progress, cancellationToken).GetAwaiter().GetResult();
        HeldPrefix computed = fresh.Share()!;
        session.Replace(lost, computed);
        return computed;
    }

    private void Save(string path, KvPrefix? held, ModelRunner runner, ReadOnlyMemory<byte> application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        CachedPage[] pages = held?.Pages() ?? [];
        int[] tokens = held?.Tokens() ?? [];
        SessionHeader whole = HeaderOf(runner) with { TokenCount = tokens.Length, ApplicationBytes = application.Length };
        using var writer = new SessionWriter(path, whole, tokens, application.Span);
        int pagesPerBatch = PagesPerBatch(whole);
        var buffer = new byte[whole.PageBytes * Math.Min(pagesPerBatch, pages.Length)];
        for (int first = 0; first < pages.Length; first += pagesPerBatch)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int begin = first;
            int count = Math.Min(pagesPerBatch, pages.Length - begin);
            engine.UseCache(cache =>
            {
                ThrowIfLost(cache == runner.Cache, "saved; nothing was written. Save it again");
                for (int i = 0; i < count; i++)
                {
                    int length = whole.TokensOf(begin + i);
                    cache.ReadPage(pages[begin + i], length, Slot(buffer, whole, i, length));
                }

                return count;
            }).GetAwaiter().GetResult();
            for (int i = 0; i < count; i++)
            {
                writer.WritePage(Slot(buffer, whole, i, whole.TokensOf(begin + i)));
            }

            progress?.Report((double)(begin + count) / pages.Length);
        }

        cancellationToken.ThrowIfCancellationRequested();
        writer.Finish();
    }

    /// <summary>
    /// Reads a session. Pages of other arithmetic are left where they are: the tokens are computed by the session's next call,
    /// which may not need all of them, shows its progress and can be cancelled.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="application">Bytes of the application.</param>
    /// <param name="progress">Told the part that is done, 0 … 1.</param>
    /// <param name="cancellationToken">Honoured between batches of pages; all pages are given back.</param>
    /// <exception cref="SessionFileException">The file is damaged, or not this model's.</exception>
    /// <exception cref="ContextLengthException">The cache has no room for it.</exception>
    public SessionState Load(string path, out byte[] application, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ModelRunner runner = engine.Runner;
        using var reader = new SessionReader(path, HeaderOf(runner), vocabulary);
        application = reader.Application;
        if (reader.Tokens.Length == 0)
        {
            return new SessionState(engine);
        }

        ThrowIfTooLong(reader.Tokens.Length);
        if (!reader.HasUsablePages)
        {
            KimiLog.ComputesAgain(logger, path, reader.Tokens.Length, reader.Header.Arithmetic, runner.Arithmetic);
            progress?.Report(1);
            return new SessionState(engine, cache: null, KvPrefix.WithoutPages(reader.Tokens));
        }

        KvSequence sequence = engine.UseCache(cache =>
        {
            ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
            return MakeRoom(cache, reader.Tokens.Length);
        }).GetAwaiter().GetResult();
        try
        {
            LoadPages(reader, runner, sequence, progress, cancellationToken);

            // Only now, when all of the file has proved sound, do others see its pages.
            KvPrefix prefix = engine.UseCache(cache =>
            {
                ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
                sequence.Advance(reader.Tokens);
                return sequence.Leave();
            }).GetAwaiter().GetResult();
            return new SessionState(engine, runner.Cache, prefix);
        }
        catch
        {
            engine.PostToCache(_ => sequence.Dispose());
            throw;
        }
    }

    private static void ThrowIfLost(bool isThere, string what)
    {
        if (!isThere)
        {
            throw new KimiException($"The GPU was lost while the session was {what}: the model runs on the CPU now.");
        }
    }

    private void ThrowIfTooLong(int tokens)
    {
        if (tokens > engine.MaxJobTokens)
        {
            throw new ContextLengthException($"The session has {tokens:N0} tokens, and the model is open for {engine.MaxJobTokens:N0}. Raise KimiModelOptions.ContextLength or KvCacheBytes.");
        }
    }

    private static KvSequence MakeRoom(KvCache cache, int tokens)
    {
        KvSequence sequence = cache.CreateSequence(shares: true);
        if (!sequence.TryExtend(tokens))
        {
            throw new ContextLengthException(
                $"The session's {tokens:N0} tokens need {KvCache.PagesFor(tokens)} pages of the cache; of {cache.PageCapacity} in its budget {cache.FreePages} are held by nobody. "
                + "Dispose sessions, wait for calls to end, or raise KimiModelOptions.KvCacheBytes.");
        }

        return sequence;
    }

    private void LoadPages(SessionReader reader, ModelRunner runner, KvSequence sequence, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        int pages = (int)reader.Header.PageCount;
        int pagesPerBatch = PagesPerBatch(reader.Header);
        var buffer = new byte[reader.Header.PageBytes * Math.Min(pagesPerBatch, pages)];
        for (int first = 0; first < pages; first += pagesPerBatch)
        {
            cancellationToken.ThrowIfCancellationRequested();
            int begin = first;
            int count = Math.Min(pagesPerBatch, pages - begin);
            for (int i = 0; i < count; i++)
            {
                reader.ReadPage(begin + i, Slot(buffer, reader.Header, i, reader.Header.TokensOf(begin + i)));
            }

            engine.UseCache(cache =>
            {
                ThrowIfLost(cache == runner.Cache, "loaded. Load it again");
                for (int i = 0; i < count; i++)
                {
                    int length = reader.Header.TokensOf(begin + i);
                    sequence.Write(begin + i, length, Slot(buffer, reader.Header, i, length));
                }

                return count;
            }).GetAwaiter().GetResult();
            progress?.Report((double)(begin + count) / pages);
        }
    }

    private SessionHeader HeaderOf(ModelRunner runner) => header with { Arithmetic = runner.Arithmetic, BytesPerToken = runner.Cache.BytesPerToken };

    private static int PagesPerBatch(SessionHeader header) => (int)Math.Max(1, BatchBytes / header.PageBytes);

    /// <summary>Room for one page of a batch.</summary>
    private static Span<byte> Slot(byte[] buffer, SessionHeader header, int index, int tokens) => buffer.AsSpan((int)(index * header.PageBytes), tokens * header.BytesPerToken);
}
