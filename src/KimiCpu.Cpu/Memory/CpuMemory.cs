// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>Main memory as a pool's threads see it.</summary>
internal sealed class CpuMemory(WorkerPool pool) : IMemoryMeter
{
    public long CacheBytes => CpuCaches.LastLevelBytes;

    public IBandwidthMeasurement? Start()
    {
        if (BandwidthMeasurement.BufferBytes(CacheBytes, ProcessMemory.Now().AvailableBytes) is not { } bytes)
        {
            return null;
        }

        try
        {
            return new BandwidthMeasurement(pool, bytes);
        }
        catch (OutOfMemoryException)
        {
            return null;
        }
    }
}
