// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Planning;

/// <summary>What decides a time.</summary>
internal enum PlanBound
{
    Memory,
    Compute,
    Drive,
    Gpu,
    GpuLink,
}

/// <summary>Where the time of one decoded token goes; parts overlap.</summary>
/// <param name="HitRate">Share of the needed experts that are in memory.</param>
/// <param name="DriveSeconds">To read those that are not.</param>
/// <param name="MemorySeconds">To read weights and cache from main memory.</param>
/// <param name="ComputeSeconds">Attention's arithmetic beyond its reads, and what each layer costs in any case.</param>
/// <param name="GpuSeconds">On the GPU while the CPU waits.</param>
/// <param name="Seconds">A token takes, with what overlaps counted once.</param>
internal sealed record DecodeTime(double HitRate, double DriveSeconds, double MemorySeconds, double ComputeSeconds, double GpuSeconds, double Seconds)
{
    public double TokensPerSecond => 1 / Seconds;

    public PlanBound Bound => new[] { (DriveSeconds, PlanBound.Drive), (MemorySeconds, PlanBound.Memory), (ComputeSeconds, PlanBound.Compute), (GpuSeconds, PlanBound.Gpu) }.MaxBy(p => p.Item1).Item2;
}

/// <summary>Rates of a machine as this model's placement uses them.</summary>
internal sealed class SpeedModel(PlanSubject subject, PlanMachine machine, Placement placement, SpeedParameters parameters)
{
    /// <summary>Seconds for a token behind so many others.</summary>
    /// <param name="context">Tokens in the cache.</param>
    /// <param name="hitBonus">Points that hits exceed the resident share by.</param>
    public DecodeTime Decode(int context, double hitBonus)
    {
        double hits = HitRate.Of(placement.ResidentShare, hitBonus);
        double routed = subject.RoutedBytesPerToken;
        double missed = routed * (1 - hits);
        double gpuRouted = placement.ResidentShare == 0 ? 0 : routed * hits * placement.GpuShare / placement.ResidentShare;
        double drive = missed == 0 ? 0 : machine.SecondsToRead(missed) / parameters.DriveEfficiency;

        // Missed experts are written to memory and read from there.
        double memory = MemorySeconds(routed - gpuRouted + placement.HotBytesIn(PlanPlace.Memory), missed);
        double overhead = subject.Config.LayerCount * parameters.SecondsPerLayer;
        double compute = overhead;
        (double gpuSerial, double gpuHidden) = (0, 0);
        if (placement.UsesGpu)
        {
            (gpuSerial, gpuHidden) = GpuDecode(context, gpuRouted);
        }
        else
        {
            double read = MemorySeconds((double)context * subject.Summary.CacheBytesPerToken, 0);
            memory += read;
            compute += Math.Max(0, AttentionSeconds(subject.AttentionOperationsPerContextToken * context) - read);
        }

        double busy = gpuSerial + Math.Max(memory + compute, gpuHidden);
        double seconds = Math.Max(drive, busy) + ((1 - parameters.DriveOverlap) * Math.Min(drive, busy));
        return new DecodeTime(hits, drive, memory, compute, gpuSerial, seconds);
    }

    /// <summary>Seconds to read from main memory with all cores, besides writing to it.</summary>
    internal double MemorySeconds(double read, double written) => Math.Max(
        (read + written) / (machine.MemoryBytesPerSecond.Value * parameters.MemoryEfficiency),
        read / (machine.OperationsPerSecond * machine.ByteOperationsFactor * parameters.DecodedBytesPerOperation));

    /// <summary>Seconds of arithmetic on the CPU for attention.</summary>
    internal double AttentionSeconds(double operations) => operations / (machine.OperationsPerSecond * machine.BFloat16OperationsFactor * parameters.AttentionEfficiency);

    /// <summary>Seconds on the GPU before the CPU's experts can begin, and beside them.</summary>
    private (double Serial, double Hidden) GpuDecode(int context, double routed)
    {
        double rate = machine.Gpu!.BytesPerSecond.Value * parameters.GpuMemoryEfficiency;
        double shared = placement.Bytes(PlanPlace.Gpu, Component.SharedExperts);
        PlacedPart cache = placement.Parts.First(p => p is { Place: PlanPlace.Gpu, Name: "KV cache" });
        double read = cache.Bytes * context / Math.Max(1, placement.ContextLength) / rate;
        double attention = Math.Max(read, subject.AttentionOperationsPerContextToken * context / parameters.GpuOperationsPerSecond);
        double serial = ((placement.HotBytesIn(PlanPlace.Gpu) - shared) / rate) + attention + (subject.Config.LayerCount * parameters.GpuSecondsPerLayer);
        return (serial, (shared + routed) / rate);
    }
}
