// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.Intrinsics;
using KimiCpu.Cpu;

namespace KimiCpu.Cli.Bench;

/// <summary>Read bandwidth of the memory with a pool's threads: every byte of a buffer far larger than the caches, once per pass.</summary>
internal sealed unsafe class BandwidthProbe : IDisposable
{
    private const long BufferBytes = 1L << 30;
    private const int BlockBytes = 1 << 20;
    private const int Passes = 3;

    private readonly WorkerPool _pool;
    private readonly AlignedBuffer<byte> _buffer = new(BufferBytes);
    private readonly PoolAction _read;
    private long _sink;

    public BandwidthProbe(WorkerPool pool)
    {
        _pool = pool;
        _read = new PoolAction(Read);

        // Written once, so that every page is there and is one of its own.
        pool.Run((int)(BufferBytes / BlockBytes), new PoolAction((begin, end, _) =>
            new Span<byte>(_buffer.Pointer + ((long)begin * BlockBytes), (end - begin) * BlockBytes).Fill(1)));
    }

    /// <summary>Bytes per second, the median of a few passes.</summary>
    public double Measure()
    {
        var rates = new double[Passes];
        for (int i = 0; i < Passes; i++)
        {
            long start = Stopwatch.GetTimestamp();
            _pool.Run((int)(BufferBytes / BlockBytes), _read);
            rates[i] = BufferBytes / Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        Array.Sort(rates);
        return rates[Passes / 2];
    }

    public void Dispose() => _buffer.Dispose();

    private void Read(int begin, int end, int worker)
    {
        byte* at = _buffer.Pointer + ((long)begin * BlockBytes);
        byte* last = _buffer.Pointer + ((long)end * BlockBytes);
        Vector512<long> a = default, b = default, c = default, d = default;
        for (; at < last; at += 4 * Vector512<byte>.Count)
        {
            a += Vector512.Load((long*)at);
            b += Vector512.Load((long*)at + 8);
            c += Vector512.Load((long*)at + 16);
            d += Vector512.Load((long*)at + 24);
        }

        Interlocked.Add(ref _sink, Vector512.Sum(a + b + c + d));
    }
}
