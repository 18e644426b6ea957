// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>What there is to know about main memory. Called by the thread that runs the model.</summary>
internal interface IMemoryMeter
{
    /// <summary>Bytes of the last level of the caches, all of its parts together; a guess where the hardware does not tell.</summary>
    long CacheBytes { get; }

    /// <summary>Begins a measurement of the read bandwidth; null where there is no memory for it.</summary>
    IBandwidthMeasurement? Start();
}

/// <summary>A measurement of the memory's read bandwidth in short slices, so that other work can run between them.</summary>
internal interface IBandwidthMeasurement : IDisposable
{
    /// <summary>The result in bytes per second; 0 before the last slice.</summary>
    double BytesPerSecond { get; }

    /// <summary>Runs a slice of about two milliseconds at most. False when it was the last one.</summary>
    bool Advance();
}
