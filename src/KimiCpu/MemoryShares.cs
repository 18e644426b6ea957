// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Weights;

namespace KimiCpu;

/// <summary>How main memory is divided, and how long steps are then.</summary>
internal sealed record MemoryShares
{
    /// <summary>Where the routed experts go.</summary>
    public required ExpertMemoryPlan Experts { get; init; }

    /// <summary>Bytes that are left for slots of experts, whatever was asked for; 0 or less where nothing is.</summary>
    public required long RoomForExperts { get; init; }

    /// <summary>Budget of the CPU's cache.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>Most prompt tokens of a step on the CPU.</summary>
    public required int PrefillChunk { get; init; }

    /// <summary>The same on a GPU, of whose memory each token takes its part, before that is known.</summary>
    public required int GpuPrefillChunk { get; init; }
}
