// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Planning;

/// <summary>Where a number comes from.</summary>
internal enum FactOrigin
{
    /// <summary>From an option.</summary>
    Given,

    /// <summary>On this machine, now.</summary>
    Measured,

    /// <summary>Neither: a usual value, and a reason to be careful.</summary>
    Assumed,
}

/// <summary>A number of the machine, and where it comes from.</summary>
internal readonly record struct Fact(double Value, FactOrigin Origin)
{
    public static Fact Given(double value) => new(value, FactOrigin.Given);

    public static Fact Assumed(double value) => new(value, FactOrigin.Assumed);

    public static Fact Measured(double value) => new(value, FactOrigin.Measured);
}

/// <summary>Drives of one kind that hold shards.</summary>
/// <param name="Name">To show.</param>
/// <param name="Count">How many.</param>
/// <param name="BytesPerSecond">Of one, large reads at random offsets.</param>
internal sealed record PlanDrives(string Name, int Count, Fact BytesPerSecond)
{
    /// <summary>What share of each MoE layer's routed experts lies here; null where everything is on one volume that is striped over drives, so that every read takes all of these.</summary>
    public IReadOnlyList<double>? LayerShares { get; init; }
}

/// <summary>One GPU.</summary>
/// <param name="Bytes">Nominal, as it is sold.</param>
/// <param name="BytesPerSecond">Of its memory.</param>
/// <param name="LinkBytesPerSecond">From main memory to it.</param>
internal sealed record PlanGpu(long Bytes, Fact BytesPerSecond, Fact LinkBytesPerSecond);

/// <summary>A machine, real or not, in the numbers that decide speed.</summary>
internal sealed record PlanMachine
{
    /// <summary>Bytes that the process may use, limits of its container included.</summary>
    public required Fact MemoryBytes { get; init; }

    /// <summary>Which limit that is, to show; empty without.</summary>
    public string MemoryLimit { get; init; } = "";

    /// <summary>What the system will promise beyond them, where it counts promises: page files, mostly. Infinite where it promises whatever is asked for.</summary>
    public double PromisableBeyondBytes { get; init; } = double.PositiveInfinity;

    public required Fact MemoryBytesPerSecond { get; init; }

    /// <summary>Physical cores that compute.</summary>
    public required Fact Cores { get; init; }

    /// <summary>Single-precision operations per second of one core, a multiply-add counted as two.</summary>
    public required Fact OperationsPerSecondPerCore { get; init; }

    /// <summary>How many byte operations the kernels do in the time of a single-precision one.</summary>
    public required double ByteOperationsFactor { get; init; }

    /// <summary>How many BF16 operations the kernels do in the time of a single-precision one.</summary>
    public required double BFloat16OperationsFactor { get; init; }

    /// <summary>Empty where experts cannot come from a drive.</summary>
    public required IReadOnlyList<PlanDrives> Drives { get; init; }

    /// <summary>Null without.</summary>
    public PlanGpu? Gpu { get; init; }

    /// <summary>How many drives there are.</summary>
    public int DriveCount => Drives.Sum(d => d.Count);

    /// <summary>How many of them, the fastest, are best striped to one volume: it has equally many bytes on each, so a drive that is slower than the others holds all of them up.</summary>
    public int StripedDrives => Volumes().MaxBy(v => v.BytesPerSecond).Count;

    /// <summary>Of that volume.</summary>
    public double StripedBytesPerSecond => Volumes().Select(v => v.BytesPerSecond).DefaultIfEmpty().Max();

    /// <summary>Missing experts of a token or a prompt, of every layer alike.</summary>
    public double ExpertBytesPerSecond => 1 / SecondsToRead(1);

    public double OperationsPerSecond => Cores.Value * OperationsPerSecondPerCore.Value;

    /// <summary>The same drives, of which the best ones are one volume that is striped over them and has all files.</summary>
    public PlanMachine Striped() => this with { Drives = [.. Drives.Select(d => d with { LayerShares = null })] };

    /// <summary>Seconds for so many bytes of experts, of every layer alike. Layers are read one after another, since nobody knows which experts the later ones choose, and each takes as long as its slowest drive.</summary>
    public double SecondsToRead(double bytes)
    {
        int layers = Drives.Max(d => d.LayerShares?.Count) ?? 0;
        return bytes * (layers == 0 ? 1 / StripedBytesPerSecond : Enumerable.Range(0, layers).Average(layer => SlowestDrive(d => d.LayerShares![layer])));
    }

    /// <summary>Seconds to fill memory, in whatever order keeps all drives busy.</summary>
    public double SecondsToFill(double bytes) => bytes * (Drives.Any(d => d.LayerShares is not null) ? SlowestDrive(d => d.LayerShares!.Average()) : 1 / StripedBytesPerSecond);

    /// <summary>Striped over the fastest drives, over those and the next slower ones, and so on.</summary>
    private IEnumerable<(int Count, double BytesPerSecond)> Volumes()
    {
        int count = 0;
        foreach (PlanDrives drives in Drives.OrderByDescending(d => d.BytesPerSecond.Value))
        {
            count += drives.Count;
            yield return (count, count * drives.BytesPerSecond.Value);
        }
    }

    private double SlowestDrive(Func<PlanDrives, double> shareOf) => Drives.Max(d => shareOf(d) / (d.Count * d.BytesPerSecond.Value));
}
