// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Sessions;

/// <summary>
/// Keeps whole pages of the cache in files, for prompts that begin alike when the cache has given them up, or in another process. What it reads is what was
/// computed, to the bit, and a page that it does not have is computed.
/// </summary>
/// <param name="files">Where they are; the tier owns it.</param>
/// <param name="header">Of sessions of this model, without what its pages are, which changes with the device.</param>
/// <param name="logger">Told what is read.</param>
internal sealed class PageTier(PageFiles files, SessionHeader header, ILogger logger) : IPageTier, IDisposable
{
    private PageReader? _reader;
    private PageWriter? _writer;
    private int _pageBytes;

    public void Attach(GenerationEngine engine, ModelRunner runner)
    {
        KvCache cache = runner.Cache;
        _reader ??= new PageReader(engine, files, logger);
        _writer ??= new PageWriter(engine, files);
        _writer.Clear();
        _pageBytes = cache.BytesPerToken * KvPage.Tokens;
        cache.Prefixes.Root.Key = PageKey.Root(header with { Arithmetic = runner.Arithmetic, BytesPerToken = cache.BytesPerToken });
        cache.Prefixes.Added = page => NoteAdded(cache, page);
    }

    public IPageReading? Begin(ScheduledCall call)
    {
        CachedPage last = call.Sequence!.LastShared;
        byte[] key = PageKey.Of(last);
        var used = new List<byte[]>();
        for (CachedPage at = last; at.Parent is not null; at = at.Parent)
        {
            used.Add(at.Key!);
        }

        // The last token is left to be computed.
        var found = new List<byte[]>();
        for (int at = last.End; at + KvPage.Tokens < call.Text.Length; at += KvPage.Tokens)
        {
            key = PageKey.Next(key, call.Text.AsSpan(at, KvPage.Tokens));
            if (!files.Contains(key))
            {
                break;
            }

            found.Add(key);
        }

        files.Touch(used.Concat(found));
        if (found.Count == 0 || _reader!.IsStalled)
        {
            return null;
        }

        var reading = new PageReading(_reader, call, last.End / KvPage.Tokens, [.. found], _pageBytes);
        _reader.Add(reading);
        return reading;
    }

    public void Finish(KvCache cache)
    {
        _reader!.End();
        _writer!.Finish(cache);
    }

    public void Dispose()
    {
        _reader?.End();
        _writer?.Stop();
        files.Dispose();
    }

    private void NoteAdded(KvCache cache, CachedPage page)
    {
        if (page.Tokens.Length == KvPage.Tokens && files.TakesMore && !files.Contains(PageKey.Of(page)))
        {
            _writer!.Add(page, cache.PageCapacity);
        }
    }
}
