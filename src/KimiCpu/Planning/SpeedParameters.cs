// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>
/// Everything in the model of speed that is neither the checkpoint nor the machine. Each value says where it comes from;
/// docs/plan.md has the measurements that they are checked against.
/// </summary>
internal sealed record SpeedParameters
{
    public static SpeedParameters Default { get; } = new();

    /// <summary>Share of the memory's read bandwidth that decoding reaches. docs/performance.md: 0.70 … 0.94 for a MoE layer of one token with two threads or more.</summary>
    public double MemoryEfficiency { get; init; } = 0.90;

    /// <summary>
    /// Bytes of weights that a core multiplies with one token's activations in the time of a byte operation of its peak: 8 GB/s of 184 Gop/s
    /// (AVX2 on Zen 3), 20 … 27 GB/s of 470 Gop/s (AVX-512 VNNI on Zen 4), measured with one thread by <c>kimi bench --kernels</c>. Unpacking takes the rest.
    /// </summary>
    public double DecodedBytesPerOperation { get; init; } = 0.04;

    /// <summary>Share of the drives' measured large-read bandwidth that missing experts come at. docs/expert-store.md: 0.9 of it beside computing.</summary>
    public double DriveEfficiency { get; init; } = 0.90;

    /// <summary>Share of the shorter of drive and compute time that hides behind the longer. The next layer's router on the current state predicts 72% of the experts (published measurements), and reads of the others overlap with computing those that are there.</summary>
    public double DriveOverlap { get; init; } = 0.80;

    /// <summary>
    /// Points by which hits exceed the resident share because successive tokens use like experts. Which ones are used is nearly flat otherwise: routers of this family are trained to
    /// balance without an auxiliary loss. Published caches: 0.15 … 0.25 near a share of one half; flat routing: 0.
    /// </summary>
    public (double Low, double Likely, double High) HitBonus { get; init; } = (0, 0.15, 0.25);

    /// <summary>Share of the integer or BF16 arithmetic that products of many tokens reach. docs/performance.md, MoE layer at 512 tokens.</summary>
    public double ArithmeticEfficiency { get; init; } = 0.50;

    /// <summary>Share of the arithmetic that attention reaches, of BF16 where that is faster. docs/performance.md: 0.56 to 0.80 on Zen 5 and Emerald Rapids, less with many cores.</summary>
    public double AttentionEfficiency { get; init; } = 0.50;

    /// <summary>Seconds a layer for what grows with nothing: barriers, norms, routing, activations.</summary>
    public double SecondsPerLayer { get; init; } = 25e-6;

    /// <summary>Share of a GPU's memory bandwidth that its kernels reach: the design's target.</summary>
    public double GpuMemoryEfficiency { get; init; } = 0.80;

    /// <summary>Operations per second of a GPU's BF16 matrix units as kernels reach them; the design's estimate for a 24 GB card.</summary>
    public double GpuOperationsPerSecond { get; init; } = 60e12;

    /// <summary>Seconds a layer for signalling and launches between CPU and GPU: the design's estimate.</summary>
    public double GpuSecondsPerLayer { get; init; } = 25e-6;

    /// <summary>Part of a card's nominal memory that is reported (23.65 of 24 GiB).</summary>
    public double GpuReportedShare { get; init; } = 23.65 / 24;

    /// <summary>Taken by context, modules and a reserve: 0.45 + 0.5 GiB, the design's estimate for a card without a screen.</summary>
    public double GpuReserveBytes { get; init; } = 0.95 * (1L << 30);

    /// <summary>Places that experts pass through on their way to the GPU: ExpertRing.Slots.</summary>
    public int GpuRingExperts { get; init; } = 3;
}
