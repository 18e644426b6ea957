// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KimiCpu.Cpu;

/// <summary>
/// Reads a buffer far larger than the caches with a pool's threads, in huge pages where the system has them: what the
/// memory can deliver to these threads.
/// </summary>
internal sealed unsafe class MemoryBandwidthProbe : IDisposable
{
    public const int BlockBytes = 1 << 18;

    private const long LargeBytes = 1L << 30;
    private const int PassesOfAKind = 3;

    private readonly WorkerPool _pool;
    private readonly AlignedBuffer<byte> _buffer;
    private readonly PoolAction _write;
    private readonly PoolAction _read;
    private int _firstBlock;
    private int _prefetchDistance;
    private long _sink;

    /// <param name="pool">Its threads read.</param>
    /// <param name="bytes">Of the buffer, which is to be written before it is read; rounded down to whole blocks.</param>
    public MemoryBandwidthProbe(WorkerPool pool, long bytes)
    {
        _pool = pool;
        Blocks = checked((int)(bytes / BlockBytes));
        _buffer = new AlignedBuffer<byte>((long)Blocks * BlockBytes);
        _write = new PoolAction(WriteBlocks);
        _read = new PoolAction(ReadBlocks);
    }

    /// <summary>Bytes ahead; 0 leaves it to the hardware. Which is faster differs between CPUs.</summary>
    public static ReadOnlySpan<int> PrefetchDistances => [0, 4096, 8192];

    public int Blocks { get; }

    /// <summary>With 1 GiB, written and ready: for benchmarks.</summary>
    public static MemoryBandwidthProbe Large(WorkerPool pool)
    {
        var probe = new MemoryBandwidthProbe(pool, LargeBytes);
        probe.Write(0, probe.Blocks);
        return probe;
    }

    /// <summary>Writes blocks, so that their pages are there and are pages of their own.</summary>
    public void Write(int first, int count)
    {
        _firstBlock = first;
        _pool.Run(count, _write);
    }

    /// <summary>Reads every byte of written blocks.</summary>
    public void Read(int first, int count, int prefetchDistance)
    {
        _firstBlock = first;
        _prefetchDistance = prefetchDistance;
        _pool.Run(count, _read);
    }

    /// <summary>Bytes per second over the whole buffer: the best of several passes, since anything slower was disturbed.</summary>
    public double Measure()
    {
        double best = 0;
        for (int i = 0; i < PassesOfAKind * PrefetchDistances.Length; i++)
        {
            long start = Stopwatch.GetTimestamp();
            Read(0, Blocks, PrefetchDistances[i % PrefetchDistances.Length]);
            best = Math.Max(best, _buffer.Capacity / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    public void Dispose() => _buffer.Dispose();

    private byte* Block(int index) => _buffer.Pointer + ((long)(_firstBlock + index) * BlockBytes);

    private void WriteBlocks(int begin, int end, int worker)
    {
        for (int block = begin; block < end; block++)
        {
            new Span<byte>(Block(block), BlockBytes).Fill(1);
        }
    }

    private void ReadBlocks(int begin, int end, int worker)
    {
        byte* at = Block(begin);
        byte* last = Block(end);
        int distance = _prefetchDistance;
        Vector512<long> a = default, b = default, c = default, d = default;
        for (; at < last; at += 4 * Vector512<byte>.Count)
        {
            if (distance > 0 && Sse.IsSupported)
            {
                Sse.Prefetch0(at + distance);
                Sse.Prefetch0(at + distance + 64);
                Sse.Prefetch0(at + distance + 128);
                Sse.Prefetch0(at + distance + 192);
            }

            a += Vector512.Load((long*)at);
            b += Vector512.Load((long*)at + 8);
            c += Vector512.Load((long*)at + 16);
            d += Vector512.Load((long*)at + 24);
        }

        Interlocked.Add(ref _sink, Vector512.Sum(a + b + c + d));
    }
}
