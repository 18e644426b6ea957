// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Tests.Generation;

/// <summary>A memory of a bandwidth that tests choose. By itself it never matters to a model: its caches hold everything.</summary>
internal sealed class FakeMemory : IMemoryMeter
{
    private int _started;
    private int _slices;
    private int _disposed;

    public long CacheBytes { get; init; } = long.MaxValue;

    /// <summary>Null where there is no memory to measure with.</summary>
    public double? Bandwidth { get; init; } = 1000;

    /// <summary>Slices of a measurement.</summary>
    public int Slices { get; init; } = 3;

    public Exception? Failure { get; init; }

    /// <summary>Called in every slice.</summary>
    public Action? InSlice { get; init; }

    public int StartedCount => Volatile.Read(ref _started);

    public int SliceCount => Volatile.Read(ref _slices);

    public int DisposedCount => Volatile.Read(ref _disposed);

    public IBandwidthMeasurement? Start()
    {
        Interlocked.Increment(ref _started);
        return Bandwidth is null ? null : new Measurement(this);
    }

    private sealed class Measurement(FakeMemory memory) : IBandwidthMeasurement
    {
        private int _done;

        public double BytesPerSecond => _done == memory.Slices ? memory.Bandwidth!.Value : 0;

        public bool Advance()
        {
            Interlocked.Increment(ref memory._slices);
            memory.InSlice?.Invoke();
            if (memory.Failure is not null)
            {
                throw memory.Failure;
            }

            return ++_done < memory.Slices;
        }

        public void Dispose() => Interlocked.Increment(ref memory._disposed);
    }
}
