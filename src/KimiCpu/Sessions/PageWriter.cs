// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Generation;
using KimiCpu.Model;

namespace KimiCpu.Sessions;

/// <summary>
/// The thread that writes pages to files, as soon as they are whole and one after the other: the engine's thread copies a page between steps, and never waits for the drive. When the cache
/// gives a page up its file has long been there, unless the drive is slower than the model computes: then that page is lost.
/// </summary>
internal sealed class PageWriter
{
    /// <summary>Copies that wait for the drive then.</summary>
    private const int MostCopies = 4;

    /// <summary>What is written when the model is closed may take so long.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private readonly GenerationEngine _engine;
    private readonly PageFiles _files;
    private readonly Thread _thread;
    private readonly object _gate = new();
    private readonly Queue<CachedPage> _pages = new();
    private readonly Queue<PageCopy> _last = new();
    private byte[] _memory = [];
    private bool _ended;
    private bool _hasAll;

    /// <param name="engine">Whose thread owns the cache.</param>
    /// <param name="files">Where pages go.</param>
    public PageWriter(GenerationEngine engine, PageFiles files)
    {
        (_engine, _files) = (engine, files);
        _thread = new Thread(Loop) { IsBackground = true, Name = "kimi-prompt-cache-write" };
        OwnThread.Start(_thread);
    }

    /// <summary>Has a page written; on the engine's thread.</summary>
    /// <param name="page">Whole, with its key.</param>
    /// <param name="capacity">Pages of the cache: of more than so many the first ones have been given up.</param>
    public void Add(CachedPage page, int capacity)
    {
        lock (_gate)
        {
            if (_pages.Count >= capacity)
            {
                _pages.Dequeue();
            }

            _pages.Enqueue(page);
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Forgets pages whose cache is gone.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _pages.Clear();
        }
    }

    /// <summary>Writes what is left, on the engine's thread, which copies nothing for others any more.</summary>
    public void Finish(KvCache cache)
    {
        long start = Stopwatch.GetTimestamp();
        End();
        try
        {
            while (_files.TakesMore && CopyNext(cache, []) is { } copy && TryHandOver(copy, Left()))
            {
            }
        }
        catch (Exception e) when (e is DeviceException or OutOfMemoryException)
        {
            // What is in the files already is all there is.
        }

        Stop();
        _thread.Join(Left());

        TimeSpan Left() => TimeSpan.FromTicks(Math.Max(0, (s_patience - Stopwatch.GetElapsedTime(start)).Ticks));
    }

    /// <summary>Ends the thread without writing what is left.</summary>
    public void Stop()
    {
        lock (_gate)
        {
            (_ended, _hasAll) = (true, true);
            Monitor.PulseAll(_gate);
        }
    }

    private void End()
    {
        lock (_gate)
        {
            _ended = true;
            Monitor.PulseAll(_gate);
        }
    }

    private void Loop()
    {
        while (HasPage())
        {
            try
            {
                if (_engine.UseCache(CopyIntoMemory).GetAwaiter().GetResult() is { } copy)
                {
                    Write(copy);
                }
            }
            catch (ObjectDisposedException)
            {
                break;
            }
            catch (Exception)
            {
                // Of whatever kind, it must not end the process. The device of the cache has failed at this page, which the engine knows, or there is no memory.
            }
        }

        while (NextCopy() is { } copy)
        {
            Write(copy);
        }
    }

    /// <returns>False where the drive has not taken those before in time.</returns>
    private bool TryHandOver(PageCopy copy, TimeSpan patience)
    {
        long start = Stopwatch.GetTimestamp();
        lock (_gate)
        {
            while (_last.Count >= MostCopies)
            {
                TimeSpan left = patience - Stopwatch.GetElapsedTime(start);
                if (left <= TimeSpan.Zero || !Monitor.Wait(_gate, left))
                {
                    return false;
                }
            }

            _last.Enqueue(copy);
            Monitor.PulseAll(_gate);
            return true;
        }
    }

    private PageCopy? NextCopy()
    {
        lock (_gate)
        {
            PageCopy? copy;
            while (!_last.TryDequeue(out copy) && !_hasAll)
            {
                Monitor.Wait(_gate);
            }

            Monitor.PulseAll(_gate);
            return copy;
        }
    }

    private void Write(PageCopy copy) => _files.Write(copy.Page.Key!, copy.Page.Parent!.Key!, (copy.Page.End / KvPage.Tokens) - 1, copy.Bytes);

    private PageCopy? CopyIntoMemory(KvCache cache)
    {
        int bytes = cache.BytesPerToken * KvPage.Tokens;
        _memory = _memory.Length == bytes ? _memory : new byte[bytes];
        return CopyNext(cache, _memory);
    }

    /// <summary>Copies the next page that is still in the cache: between steps nothing gives it up meanwhile.</summary>
    /// <param name="cache">The engine's.</param>
    /// <param name="memory">For a page; empty to have some of its own.</param>
    private PageCopy? CopyNext(KvCache cache, byte[] memory)
    {
        while (Next() is { } page)
        {
            if (!page.IsGivenUp && !_files.Contains(page.Key!))
            {
                memory = memory.Length > 0 ? memory : new byte[cache.BytesPerToken * KvPage.Tokens];
                cache.ReadPage(page, KvPage.Tokens, memory);
                return new PageCopy(page, memory);
            }
        }

        return null;
    }

    private CachedPage? Next()
    {
        lock (_gate)
        {
            return _pages.TryDequeue(out CachedPage? page) ? page : null;
        }
    }

    private bool HasPage()
    {
        lock (_gate)
        {
            while (_pages.Count == 0 && !_ended)
            {
                Monitor.Wait(_gate);
            }

            return !_ended;
        }
    }

    private sealed record PageCopy(CachedPage Page, byte[] Bytes);
}
