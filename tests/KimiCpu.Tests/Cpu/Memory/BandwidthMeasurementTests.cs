// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed class BandwidthMeasurementTests
{
    private const long MiB = 1 << 20;

    [Test]
    public void Slices_come_to_an_end_with_a_result([Values(1, 2, 5)] int threads, [Values(1, 9)] int blocks)
    {
        using var pool = new WorkerPool(threads);
        using var measurement = new BandwidthMeasurement(pool, (blocks * (long)MemoryBandwidthProbe.BlockBytes) + 1);
        int slices = 1;
        while (measurement.Advance())
        {
            Assert.That(measurement.BytesPerSecond, Is.Zero);
            slices++;
        }

        Assert.That(measurement.BytesPerSecond, Is.Positive.And.Not.EqualTo(double.PositiveInfinity));
        int passes = 1 + (2 * MemoryBandwidthProbe.Patterns.Length);
        Assert.That(slices, Is.InRange(passes, passes * blocks), "a writing pass, and two that read in each way");
    }

    /// <summary>Whatever step was last.</summary>
    [Test]
    public void The_threads_that_decode_measure()
    {
        using var pool = new WorkerPool(4) { DecodingThreads = 2 };
        using var measurement = new BandwidthMeasurement(pool, 2L * MemoryBandwidthProbe.BlockBytes);
        pool.SuitRows(512);
        Assert.That(pool.ActiveThreads, Is.EqualTo(4));
        measurement.Advance();
        Assert.That(pool.ActiveThreads, Is.EqualTo(2));
    }

    [TestCase(32, 100_000, 256)]
    [TestCase(128, 100_000, 1024, Description = "eight times the caches")]
    [TestCase(32, 2000, 200, Description = "a tenth of the memory")]
    [TestCase(32, 1279, null, Description = "less than four times the caches")]
    [TestCase(0, 0, null)]
    public void Buffer_is_large_beside_the_caches_and_small_beside_the_memory(long cacheMiB, long availableMiB, long? expectedMiB) =>
        Assert.That(BandwidthMeasurement.BufferBytes(cacheMiB * MiB, availableMiB * MiB), Is.EqualTo(expectedMiB * MiB));

    [Test]
    public void Caches_are_found() => Assert.That(CpuCaches.LastLevelBytes, Is.InRange(MiB / 4, 16_384 * MiB));
}
