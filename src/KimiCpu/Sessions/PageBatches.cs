// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Sessions;

/// <summary>
/// A session's pages in batches on their way between the cache and a file, and the memory of a few at a time: while one is at the
/// file, the engine finds the next ones ready.
/// </summary>
internal sealed class PageBatches
{
    /// <summary>Batches with memory at the same time: one at the file, two that the engine has not come to.</summary>
    public const int InFlight = 3;

    private readonly SessionHeader _header;
    private readonly int _pages;
    private readonly int _pagesPerBatch;
    private readonly byte[][] _memory;

    /// <param name="header">Of the session.</param>
    /// <param name="bytes">Of a batch; one that is smaller than a page has one.</param>
    public PageBatches(SessionHeader header, int bytes)
    {
        _header = header;
        _pages = (int)header.PageCount;
        _pagesPerBatch = (int)Math.Max(1, bytes / header.PageBytes);
        Count = (_pages + _pagesPerBatch - 1) / _pagesPerBatch;
        _memory = [.. Enumerable.Range(0, Math.Min(Count, InFlight)).Select(_ => new byte[header.PageBytes * Math.Min(_pagesPerBatch, _pages)])];
    }

    /// <summary>Batches in all.</summary>
    public int Count { get; }

    /// <summary>Batches that the engine's thread, which alone counts them, has been through.</summary>
    public int Passed { get; set; }

    /// <summary>The part of all pages that has passed when a batch has.</summary>
    public double PartWith(int batch) => (double)EndOf(batch) / _pages;

    /// <summary>The pages of a batch.</summary>
    public IEnumerable<int> PagesOf(int batch) => Enumerable.Range(batch * _pagesPerBatch, EndOf(batch) - (batch * _pagesPerBatch));

    /// <summary>Memory of a page, which the page <see cref="InFlight"/> batches later will have.</summary>
    public Span<byte> this[int page] => _memory[page / _pagesPerBatch % InFlight].AsSpan((int)(page % _pagesPerBatch * _header.PageBytes), _header.TokensOf(page) * _header.BytesPerToken);

    private int EndOf(int batch) => Math.Min(_pages, (batch + 1) * _pagesPerBatch);
}
