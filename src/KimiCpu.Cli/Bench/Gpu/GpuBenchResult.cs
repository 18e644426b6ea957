// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Bench.Gpu;

/// <summary>One kernel, beside what the memory gave right before and after it.</summary>
/// <param name="Kernel">What ran.</param>
/// <param name="Bytes">Weights with their factors, or cache, that one run must read; 0 for what does arithmetic.</param>
/// <param name="Operations">Of one run by its definition; a multiply-add counts as two.</param>
/// <param name="TensorOperations">What the tensor cores do for it: twice as much where the input comes in two parts.</param>
/// <param name="Seconds">Of one run; the median of the repetitions.</param>
/// <param name="Bandwidth">Bytes per second that reading gave.</param>
/// <param name="WantedShare">Of the bandwidth; null where nothing is wanted.</param>
internal sealed record GpuKernelResult(string Kernel, double Bytes, double Operations, double TensorOperations, double Seconds, double Bandwidth, double? WantedShare)
{
    /// <summary>What kernels of decoding are to reach.</summary>
    public const double DecodeShare = 0.80;

    public double BytesPerSecond => Bytes / Seconds;

    public double Share => BytesPerSecond / Bandwidth;

    public bool IsReached => WantedShare is null || Share >= WantedShare;
}

/// <summary>What a layer pays for asking the host, beside its kernels.</summary>
/// <param name="Turn">Seconds from the host's answer, through the launch of what reads it, to the flag of the next question; ascending.</param>
/// <param name="Kernels">Seconds that the two kernels of a turn take where nothing leaves the GPU.</param>
internal sealed record GpuRoundTripResult(double[] Turn, double Kernels)
{
    public const double WantedSeconds = 20e-6;

    public double Median => At(0.5);

    public double P99 => At(0.99);

    public bool IsReached => Median <= WantedSeconds;

    private double At(double share) => Math.Max(0, Turn[(int)(share * (Turn.Length - 1))] - Kernels);
}

/// <summary>The GPU's part of a decoded token.</summary>
/// <param name="Layers">So many.</param>
/// <param name="AllLayers">That the model has; not all of them fit every GPU.</param>
/// <param name="Context">Tokens that it sees.</param>
/// <param name="Bytes">Weights and cache, each once.</param>
/// <param name="Seconds">Of recorded launches, one behind the other.</param>
/// <param name="WithHost">Seconds where each layer's rows go to the host and an answer comes back at once.</param>
/// <param name="Bandwidth">Bytes per second that reading gave.</param>
internal sealed record GpuStepResult(int Layers, int AllLayers, int Context, double Bytes, double Seconds, double WithHost, double Bandwidth)
{
    public const double WantedRatio = 1.25;

    /// <summary>Seconds that reading the bytes takes.</summary>
    public double Floor => Bytes / Bandwidth;

    public double Ratio => Seconds / Floor;

    public bool IsReached => Ratio <= WantedRatio;
}

/// <summary>How the driver has translated a kernel for this GPU.</summary>
internal sealed record GpuTranslation(string Kernel, int Threads, int Registers, int LocalBytes);

/// <summary>All that <c>kimi bench --gpu</c> shows.</summary>
/// <param name="Gpu">Name and facts.</param>
/// <param name="ReadBandwidth">Bytes per second of the kernel that only reads.</param>
/// <param name="CopyBandwidth">Bytes per second of a copy within the device, reading and writing counted.</param>
/// <param name="Decode">Kernels of a decoded token.</param>
/// <param name="Prompts">Kernels of prompts.</param>
/// <param name="RoundTrip">Of a layer.</param>
/// <param name="Step">Null where not even two layers fit.</param>
/// <param name="Translations">Of all kernels.</param>
internal sealed record GpuBenchResult(
    string Gpu,
    double ReadBandwidth,
    double CopyBandwidth,
    IReadOnlyList<GpuKernelResult> Decode,
    IReadOnlyList<GpuKernelResult> Prompts,
    GpuRoundTripResult RoundTrip,
    GpuStepResult? Step,
    IReadOnlyList<GpuTranslation> Translations);
