// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>
/// A quick measurement in slices, whose times add up to the time of a pass: the buffer is written once and read in a few
/// passes, of which the best counts. What happens between the slices is not measured.
/// </summary>
internal sealed class BandwidthMeasurement : IBandwidthMeasurement
{
    private const int PassesOfAKind = 2;
    private const long UsualBytes = 256L << 20;

    /// <summary>With so many times the cache in the buffer, the passes after the first find little of it there.</summary>
    private const int UsualCaches = 8;
    private const int FewestCaches = 4;
    private const int PartOfMemory = 10;

    private static readonly long s_longSlice = Stopwatch.Frequency * 2 / 1000;

    private readonly WorkerPool _pool;
    private readonly MemoryBandwidthProbe _probe;
    private readonly int _fewestBlocks;
    private int _sliceBlocks;
    private int _block;
    private int _pass = -1;
    private long _passTicks;
    private double _best;

    /// <param name="pool">Its threads read.</param>
    /// <param name="bytes">Of the buffer.</param>
    public BandwidthMeasurement(WorkerPool pool, long bytes)
    {
        _pool = pool;
        _probe = new MemoryBandwidthProbe(pool, bytes);
        _fewestBlocks = pool.Threads;
        _sliceBlocks = _fewestBlocks;
    }

    public double BytesPerSecond { get; private set; }

    private static int Passes => PassesOfAKind * MemoryBandwidthProbe.Patterns.Length;

    /// <summary>Bytes of the buffer: enough for the caches not to matter, and little of the memory; null where that is not possible.</summary>
    public static long? BufferBytes(long cacheBytes, long availableBytes)
    {
        long bytes = Math.Min(Math.Max(UsualBytes, UsualCaches * cacheBytes), availableBytes / PartOfMemory);
        return bytes >= Math.Max(FewestCaches * cacheBytes, MemoryBandwidthProbe.BlockBytes) ? bytes : null;
    }

    public bool Advance()
    {
        // Decoding is compared with it, and the last step may have been a prompt's.
        _pool.SuitRows(1);
        int count = Math.Min(_sliceBlocks, _probe.Blocks - _block);
        long start = Stopwatch.GetTimestamp();
        if (_pass < 0)
        {
            _probe.Write(_block, count);
        }
        else
        {
            _probe.Read(_block, count, MemoryBandwidthProbe.Patterns[_pass % MemoryBandwidthProbe.Patterns.Length]);
        }

        long ticks = Stopwatch.GetTimestamp() - start;
        FitSlice(ticks);
        _passTicks += ticks;
        _block += count;
        if (_block == _probe.Blocks)
        {
            EndPass();
        }

        return _pass < Passes;
    }

    /// <summary>Gives the buffer back on another thread: that takes milliseconds, in which a call may begin.</summary>
    public void Dispose() => ThreadPool.UnsafeQueueUserWorkItem(p => p.Dispose(), _probe, preferLocal: false);

    /// <summary>Between half and all of the longest slice.</summary>
    private void FitSlice(long ticks)
    {
        if (ticks > s_longSlice)
        {
            _sliceBlocks = Math.Max(_sliceBlocks / 2, _fewestBlocks);
        }
        else if (ticks < s_longSlice / 2)
        {
            _sliceBlocks = Math.Min(2 * _sliceBlocks, _probe.Blocks);
        }
    }

    private void EndPass()
    {
        if (_pass >= 0 && _passTicks > 0)
        {
            double seconds = _passTicks / (double)Stopwatch.Frequency;
            _best = Math.Max(_best, (double)_probe.Blocks * MemoryBandwidthProbe.BlockBytes / seconds);
        }

        (_pass, _block, _passTicks) = (_pass + 1, 0, 0);
        if (_pass == Passes)
        {
            BytesPerSecond = _best;
        }
    }
}
