// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Planning;

/// <summary>What large reads at random offsets bring.</summary>
/// <param name="BytesPerSecond">Over the whole measurement.</param>
/// <param name="Bytes">Read.</param>
/// <param name="Unbuffered">False where the page cache could not be avoided, so that memory may have answered.</param>
internal sealed record DriveBandwidth(double BytesPerSecond, long Bytes, bool Unbuffered);

/// <summary>Reads blocks at random offsets of existing files, several at once, as missing experts are read; writes nothing.</summary>
internal static class DriveBandwidthProbe
{
    /// <summary>About an expert of Kimi K2.</summary>
    private const int BlockBytes = 24 << 20;

    private const int LeastBlockBytes = 1 << 20;

    /// <summary>Reads in flight: enough for drives that are fast only with several.</summary>
    private const int Readers = 6;

    /// <param name="files">Of one drive, or of a group that is read in parallel.</param>
    /// <param name="duration">How long to read.</param>
    /// <param name="cancellationToken">Ends the measurement early.</param>
    /// <param name="startThread">Starts a thread; null for <see cref="Thread.Start()"/>.</param>
    /// <returns>Null where the files are too small to say anything.</returns>
    /// <exception cref="IOException">A file cannot be read.</exception>
    /// <exception cref="InsufficientMemoryException">The system has no thread left.</exception>
    public static DriveBandwidth? Measure(IReadOnlyList<string> files, TimeSpan duration, CancellationToken cancellationToken, Action<Thread>? startThread = null)
    {
        var opened = new List<DirectFile>();
        try
        {
            foreach (string file in files)
            {
                opened.Add(DirectFile.Open(file));
            }

            long longest = opened.Count == 0 ? 0 : opened.Max(f => f.Length);
            int block = (int)Math.Min(BlockBytes, longest / 4 / LeastBlockBytes * LeastBlockBytes);
            if (block < LeastBlockBytes)
            {
                return null;
            }

            DirectFile[] usable = [.. opened.Where(f => f.Length >= block)];
            long start = Stopwatch.GetTimestamp();
            long bytes = ReadInParallel(usable, block, start + (long)(duration.TotalSeconds * Stopwatch.Frequency), startThread, cancellationToken);
            return new DriveBandwidth(bytes / Stopwatch.GetElapsedTime(start).TotalSeconds, bytes, opened.TrueForAll(f => f.IsDirect));
        }
        finally
        {
            opened.ForEach(f => f.Dispose());
        }
    }

    private static long ReadInParallel(DirectFile[] files, int block, long end, Action<Thread>? startThread, CancellationToken cancellationToken)
    {
        long total = 0;
        Exception? failure = null;
        int started = 0;
        Thread[] threads =
        [
            .. Enumerable.Range(0, Readers).Select(reader => new Thread(() =>
            {
                try
                {
                    Interlocked.Add(ref total, ReadUntil(files, block, end, new Random(reader), cancellationToken));
                }
                catch (Exception e)
                {
                    failure = e;
                }
            })
            { Name = $"kimi-probe-{reader}" }),
        ];
        try
        {
            for (; started < threads.Length; started++)
            {
                OwnThread.Start(threads[started], startThread);
            }
        }
        finally
        {
            // Their files are closed next.
            Array.ForEach(threads[..started], t => t.Join());
        }

        cancellationToken.ThrowIfCancellationRequested();
        return failure is null ? total : throw new IOException($"The drive cannot be measured: {failure.Message}", failure);
    }

    private static unsafe long ReadUntil(DirectFile[] files, int block, long end, Random random, CancellationToken cancellationToken)
    {
        // Blocks are large enough for huge pages, whose alignment is more than any drive asks for.
        using var buffer = new AlignedBuffer<byte>(Math.Max(block, (long)HugePages.WorthwhileBytes));
        long bytes = 0;
        do
        {
            DirectFile file = files[random.Next(files.Length)];
            long offset = random.NextInt64((file.Length - block) / DirectFile.Alignment + 1) * DirectFile.Alignment;
            file.Read(offset, buffer.Pointer, block);
            bytes += block;
        }
        while (Stopwatch.GetTimestamp() < end && !cancellationToken.IsCancellationRequested);
        return bytes;
    }
}
