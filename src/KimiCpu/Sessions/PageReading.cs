// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Sessions;

/// <summary>Pages of a call on their way from files into the cache.</summary>
/// <param name="reader">Reads them.</param>
/// <param name="call">Has pages for them. The engine's thread alone looks at it.</param>
/// <param name="first">Pages of its text that are there.</param>
/// <param name="keys">Of those that follow and have files.</param>
/// <param name="pageBytes">Of each.</param>
internal sealed class PageReading(PageReader reader, ScheduledCall call, int first, byte[][] keys, int pageBytes) : IPageReading
{
    private volatile bool _isOver;

    public int First => first;

    public IReadOnlyList<byte[]> Keys => keys;

    public int PageBytes => pageBytes;

    /// <summary>A drive that does not answer is not waited for: the call computes the rest.</summary>
    public bool IsOver => _isOver || (_isOver = reader.IsStalled);

    public void End() => _isOver = true;

    /// <summary>Hands a page over, on the engine's thread.</summary>
    /// <param name="page">Of the text.</param>
    /// <param name="bytes">Its contents.</param>
    /// <returns>False where the call wants no more: it has ended, or given its pages to others.</returns>
    public bool Take(int page, ReadOnlySpan<byte> bytes) => call.TakeIn(this, page, bytes);
}
