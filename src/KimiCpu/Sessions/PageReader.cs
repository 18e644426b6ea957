// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Sessions;

/// <summary>The thread that reads calls' pages from files, one call after the other. The engine's thread copies one page into the cache while the next one is read.</summary>
internal sealed class PageReader
{
    /// <summary>How long one page's file may take.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);

    private readonly GenerationEngine _engine;
    private readonly PageFiles _files;
    private readonly ILogger _logger;
    private readonly BlockingCollection<PageReading> _asked = [];
    private long _readSince;

    /// <param name="engine">Whose thread owns the cache.</param>
    /// <param name="files">Where pages are.</param>
    /// <param name="logger">Told how much was read for a call.</param>
    public PageReader(GenerationEngine engine, PageFiles files, ILogger logger)
    {
        (_engine, _files, _logger) = (engine, files, logger);
        OwnThread.Start(new Thread(Loop) { IsBackground = true, Name = "kimi-prompt-cache-read" });
    }

    /// <summary>Whether the drive does not answer.</summary>
    public bool IsStalled => Interlocked.Read(ref _readSince) is var since && since != 0 && Stopwatch.GetElapsedTime(since) > s_patience;

    public void Add(PageReading reading) => _asked.Add(reading);

    /// <summary>No call asks any more. Does not wait.</summary>
    public void End() => _asked.CompleteAdding();

    private void Loop()
    {
        foreach (PageReading reading in _asked.GetConsumingEnumerable())
        {
            long start = Stopwatch.GetTimestamp();
            int read = 0;
            try
            {
                read = Read(reading);
            }
            catch (Exception e)
            {
                // Of whatever kind, it must not end the process, and the call computes what it has not got. The device was lost, the model disposed of, or there is no memory.
                KimiLog.PagesNotRead(_logger, e.Message);
            }

            // Also wakes the engine, which may have had nothing else to do.
            _engine.PostToCache(_ => reading.End());
            if (read > 0)
            {
                KimiLog.PagesRead(_logger, read * KvPage.Tokens, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            }
        }
    }

    /// <returns>Pages that the call has taken.</returns>
    private int Read(PageReading reading)
    {
        byte[][] memory = [new byte[reading.PageBytes], new byte[reading.PageBytes]];
        Task<bool>? taken = null;
        int read = 0;
        for (int i = 0; i < reading.Keys.Count; i++)
        {
            byte[] bytes = memory[i % 2];
            bool found = TryRead(reading.Keys[i], bytes);
            if (taken is not null)
            {
                bool goesOn = taken.GetAwaiter().GetResult();
                taken = null;
                read += goesOn ? 1 : 0;
                if (!goesOn)
                {
                    break;
                }
            }

            if (!found)
            {
                break;
            }

            int page = reading.First + i;
            taken = _engine.UseCache(_ => reading.Take(page, bytes));
        }

        return read + (taken?.GetAwaiter().GetResult() == true ? 1 : 0);
    }
    private bool TryRead(byte[] key, byte[] bytes)
    {
        Interlocked.Exchange(ref _readSince, Stopwatch.GetTimestamp());
        try
        {
            return _files.TryRead(key, bytes);
        }
        finally
        {
            Interlocked.Exchange(ref _readSince, 0);
        }
    }
}
