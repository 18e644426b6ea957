// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using KimiCpu.Cpu.Kernels;

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

    private static readonly Pattern[] s_patterns = [new(1, 0), new(2, 0), new(4, 0), new(4, 1024), new(4, 1024, FarDistance: 2048), new(1, 8192), new(1, Prefetch.PagesAhead, OncePerPage: true)];

    private readonly WorkerPool _pool;
    private readonly AlignedBuffer<byte> _buffer;
    private readonly PoolAction _write;
    private readonly PoolAction _read;
    private readonly BlockSlices _slices;
    private Pattern _pattern;
    private long _sink;

    /// <param name="pool">Its threads read.</param>
    /// <param name="bytes">Of the buffer, which is to be written before it is read; rounded down to whole blocks.</param>
    public MemoryBandwidthProbe(WorkerPool pool, long bytes)
    {
        _pool = pool;
        Blocks = checked((int)(bytes / BlockBytes));
        _slices = new BlockSlices(pool, Blocks);
        _buffer = new AlignedBuffer<byte>((long)Blocks * BlockBytes);
        _write = new PoolAction(WriteBlocks);
        _read = new PoolAction(ReadBlocks);
    }

    /// <summary>Ways to read. Which is the fastest differs between CPUs.</summary>
    public static ReadOnlySpan<Pattern> Patterns => s_patterns;

    public int Blocks { get; }

    /// <summary>With 1 GiB, written and ready: for benchmarks.</summary>
    public static MemoryBandwidthProbe Large(WorkerPool pool)
    {
        var probe = new MemoryBandwidthProbe(pool, LargeBytes);
        probe.Write(0, probe.Blocks);
        return probe;
    }

    /// <summary>Writes a slice of the blocks, so that their pages are there, are pages of their own, and lie near the node that reads them.</summary>
    public void Write(int first, int count)
    {
        _slices.Cut(first, count);
        _pool.Run(_slices.NodeEnds, _write);
    }

    /// <summary>Reads every byte of a slice of written blocks.</summary>
    public void Read(int first, int count, Pattern pattern)
    {
        _pattern = pattern;
        _slices.Cut(first, count);
        _pool.Run(_slices.NodeEnds, _read);
    }

    /// <summary>Bytes per second over the whole buffer: the best of several passes, since anything slower was disturbed.</summary>
    public double Measure()
    {
        double best = 0;
        for (int i = 0; i < PassesOfAKind * Patterns.Length; i++)
        {
            best = Math.Max(best, MeasurePass(Patterns[i % Patterns.Length]));
        }

        return best;
    }

    /// <summary>Bytes per second of one pass over the whole buffer.</summary>
    public double MeasurePass(Pattern pattern)
    {
        long start = Stopwatch.GetTimestamp();
        Read(0, Blocks, pattern);
        return _buffer.Capacity / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public void Dispose() => _buffer.Dispose();

    private byte* Block(int index) => _buffer.Pointer + ((long)index * BlockBytes);

    private void WriteBlocks(int begin, int end, int worker)
    {
        for (int item = begin; item < end; item++)
        {
            new Span<byte>(Block(_slices.Stretch(item, end).Block), BlockBytes).Fill(1);
        }
    }

    private void ReadBlocks(int begin, int end, int worker)
    {
        // One stretch, but where the caller alone does what belongs to several nodes.
        while (begin < end)
        {
            (int block, int count) = _slices.Stretch(begin, end);
            Interlocked.Add(ref _sink, Sum(Block(block), count * (long)BlockBytes / _pattern.Streams, _pattern));
            begin += count;
        }
    }

    /// <summary>Sums as many streams of so many bytes, one behind another, as the pattern has.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static long Sum(byte* at, long bytes, Pattern pattern)
    {
        Debug.Assert(!pattern.OncePerPage || pattern.Streams == 1, "Pages are counted in the first stream only.");
        int others = pattern.Streams - 1;
        int distance = pattern.PrefetchDistance;
        nuint asked = pattern.OncePerPage ? (nuint)(4 * Vector<byte>.Count) : Prefetch.PageBytes;
        Vector<long> a = default, b = default, c = default, d = default;
        for (byte* end = at + bytes; at < end; at += 4 * Vector<byte>.Count)
        {
            if (distance > 0 && ((nuint)at & (Prefetch.PageBytes - 1)) < asked)
            {
                Ask(at, pattern);
            }

            a += Vector.Load((long*)at);
            b += Vector.Load((long*)(at + Vector<byte>.Count));
            c += Vector.Load((long*)(at + (2 * Vector<byte>.Count)));
            d += Vector.Load((long*)(at + (3 * Vector<byte>.Count)));
            byte* other = at;
            for (int i = 0; i < others; i++)
            {
                other += bytes;
                if (distance > 0)
                {
                    Ask(other, pattern);
                }

                a += Vector.Load((long*)other);
                b += Vector.Load((long*)(other + Vector<byte>.Count));
                c += Vector.Load((long*)(other + (2 * Vector<byte>.Count)));
                d += Vector.Load((long*)(other + (3 * Vector<byte>.Count)));
            }
        }

        return Vector.Sum(a + b + c + d);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Ask(byte* at, Pattern pattern)
    {
        if (Sse.IsSupported)
        {
            bool hasSecondLine = Vector<byte>.Count > 16 && !pattern.OncePerPage;
            byte* near = at + pattern.PrefetchDistance;
            if (pattern.FarDistance > 0)
            {
                byte* far = at + pattern.FarDistance;
                Sse.Prefetch1(far);
                if (hasSecondLine)
                {
                    Sse.Prefetch1(far + 64);
                }
            }

            Sse.Prefetch0(near);
            if (hasSecondLine)
            {
                Sse.Prefetch0(near + 64);
            }
        }
    }

    /// <param name="Streams">Places of a thread's share that are read in turn: 1, 2 or 4.</param>
    /// <param name="PrefetchDistance">Bytes ahead that are asked for; 0 leaves it to the hardware.</param>
    /// <param name="OncePerPage">Whether one line of each page is asked for, not every line.</param>
    /// <param name="FarDistance">Bytes ahead that are asked for beforehand, into the second-level cache; 0 if they are not.</param>
    internal readonly record struct Pattern(int Streams, int PrefetchDistance, bool OncePerPage = false, int FarDistance = 0);
}
