// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cli.Bench;

/// <summary>One kernel beside its two ceilings, all measured within the same seconds.</summary>
/// <param name="Kernel">What ran.</param>
/// <param name="Bytes">Weights, scales or cache that one run must read from memory.</param>
/// <param name="Operations">Of one run; a multiply-add counts as two.</param>
/// <param name="Seconds">Of one run; the median of the repetitions.</param>
/// <param name="Bandwidth">Bytes per second that the memory gave.</param>
/// <param name="Arithmetic">Operations per second that the vector units gave, in the kernel's type.</param>
internal sealed record RooflineResult(string Kernel, double Bytes, double Operations, double Seconds, double Bandwidth, double Arithmetic)
{
    public double BytesPerSecond => Bytes / Seconds;

    public double OperationsPerSecond => Operations / Seconds;

    public double BandwidthShare => BytesPerSecond / Bandwidth;

    public double ArithmeticShare => OperationsPerSecond / Arithmetic;

    /// <summary>Whether reading takes longer than computing would.</summary>
    public bool IsMemoryBound => Bytes / Bandwidth >= Operations / Arithmetic;

    /// <summary>Of the ceiling that binds.</summary>
    public double Share => IsMemoryBound ? BandwidthShare : ArithmeticShare;
}
