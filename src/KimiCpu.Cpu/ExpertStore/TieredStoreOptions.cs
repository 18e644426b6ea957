// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Cpu;

/// <summary>How a <see cref="TieredExpertStore"/> works.</summary>
internal sealed record TieredStoreOptions
{
    /// <summary>Memory of all slots.</summary>
    public required long Bytes { get; init; }

    /// <summary>Reads in flight on each drive.</summary>
    public int ReadsOfDrive { get; init; } = 8;

    /// <summary>Most bytes of one read; a multiple of <see cref="IWeightFiles.Alignment"/>.</summary>
    public int PieceBytes { get; init; } = 4 << 20;

    /// <summary>Whether reads begin for the experts that the next layer's router would choose now.</summary>
    public bool LookAhead { get; init; } = true;

    /// <summary>How long the drives may be silent before a step that waits for them fails.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Says when the system needs memory back; null for never.</summary>
    public MemoryKeeper? Keeper { get; init; }

    /// <summary>Told when slots are given back or taken again: how many are in use, of how many. On the thread that runs the model, or a timer's.</summary>
    public Action<int, int>? CapacityChanged { get; init; }

    /// <summary>Makes the policy for so many layers of so many experts.</summary>
    public Func<int, int, IEvictionPolicy> Policy { get; init; } = (layers, experts) => EvictionPolicies.Make(EvictionPolicies.Default, layers, experts);
}
