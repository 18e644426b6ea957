// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>
/// Read bandwidth of the memory with a pool's threads: every byte of a buffer far larger than the caches, in huge pages
/// where the system has them, once per pass. The best of several passes, since anything slower was disturbed.
/// </summary>
internal sealed unsafe class BandwidthProbe : IDisposable
{
    private const long BufferBytes = 1L << 30;
    private const int BlockBytes = 1 << 20;
    private const int PassesOfAKind = 3;

    /// <summary>Bytes ahead; 0 leaves it to the hardware. Which is faster differs between CPUs.</summary>
    private static readonly int[] s_prefetchDistances = [0, 4096, 8192];

    private readonly WorkerPool _pool;
    private readonly AlignedBuffer<byte> _buffer = new(BufferBytes);
    private readonly PoolAction _read;
    private int _prefetchDistance;
    private long _sink;

    public BandwidthProbe(WorkerPool pool)
    {
        _pool = pool;
        _read = new PoolAction(Read);

        // Written once, so that every page is there and is one of its own.
        pool.Run((int)(BufferBytes / BlockBytes), new PoolAction((begin, end, _) =>
            new Span<byte>(_buffer.Pointer + ((long)begin * BlockBytes), (end - begin) * BlockBytes).Fill(1)));
    }

    /// <summary>Bytes per second.</summary>
    public double Measure()
    {
        double best = 0;
        for (int i = 0; i < PassesOfAKind * s_prefetchDistances.Length; i++)
        {
            _prefetchDistance = s_prefetchDistances[i % s_prefetchDistances.Length];
            long start = Stopwatch.GetTimestamp();
            _pool.Run((int)(BufferBytes / BlockBytes), _read);
            best = Math.Max(best, BufferBytes / Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    public void Dispose() => _buffer.Dispose();

    private void Read(int begin, int end, int worker)
    {
        byte* at = _buffer.Pointer + ((long)begin * BlockBytes);
        byte* last = _buffer.Pointer + ((long)end * BlockBytes);
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
