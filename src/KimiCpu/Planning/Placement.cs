// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;

namespace KimiCpu.Planning;

/// <summary>Where bytes live while a model runs.</summary>
internal enum PlanPlace
{
    Gpu,
    Memory,
    Drive,
}

/// <summary>A part of the model in one place.</summary>
/// <param name="Name">To show.</param>
/// <param name="Place">Where.</param>
/// <param name="Bytes">It takes there.</param>
/// <param name="Format">Its precision.</param>
/// <param name="Component">What it is of; null for what is no weight.</param>
internal sealed record PlacedPart(string Name, PlanPlace Place, double Bytes, string Format, Component? Component);

/// <summary>What lives where, and what that leaves.</summary>
internal sealed record Placement
{
    public required IReadOnlyList<PlacedPart> Parts { get; init; }

    /// <summary>How many tokens the cache has room for.</summary>
    public required int ContextLength { get; init; }

    /// <summary>Prompt tokens of a pass.</summary>
    public required int PrefillChunk { get; init; }

    /// <summary>Memory left to the system.</summary>
    public required double ReserveBytes { get; init; }

    /// <summary>Neither used nor reserved; negative where the model cannot run.</summary>
    public required double MemoryLeft { get; init; }

    /// <summary>Of the GPU's memory; 0 without one.</summary>
    public double GpuLeft { get; init; }

    /// <summary>Whether what every token needs is on the GPU.</summary>
    public bool UsesGpu { get; init; }

    /// <summary>Whether the GPU has buffers that experts can pass through.</summary>
    public bool GpuHasRing { get; init; }

    /// <summary>Routed experts in main memory, as a share of all; 1 for a model without experts.</summary>
    public required double MemoryShare { get; init; }

    /// <summary>Routed experts on the GPU, as a share of all.</summary>
    public double GpuShare { get; init; }

    /// <summary>What does not fit and what to do; null where everything has its place.</summary>
    public string? Problem { get; init; }

    /// <summary>What is worth knowing about the GPU; null for nothing.</summary>
    public string? GpuNote { get; init; }

    public double ResidentShare => Math.Min(1, MemoryShare + GpuShare);

    public double BytesIn(PlanPlace place) => Parts.Where(p => p.Place == place).Sum(p => p.Bytes);

    /// <summary>Weights of a place that every token reads: no routed experts, no embedding, no cache.</summary>
    public double HotBytesIn(PlanPlace place) =>
        Parts.Where(p => p.Place == place && p.Component is not (null or Component.RoutedExperts or Component.Embedding)).Sum(p => p.Bytes);

    public double Bytes(PlanPlace place, Component component) => Parts.Where(p => p.Place == place && p.Component == component).Sum(p => p.Bytes);
}
