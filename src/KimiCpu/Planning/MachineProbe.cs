// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Planning;

/// <summary>What is known of a machine before anything is measured; null members are measured here, or assumed where that cannot be.</summary>
internal sealed record MachineSketch
{
    public double? MemoryBytes { get; init; }

    public double? MemoryBytesPerSecond { get; init; }

    public int? Cores { get; init; }

    public double? OperationsPerSecondPerCore { get; init; }

    public IReadOnlyList<PlanDrives>? Drives { get; init; }

    public PlanGpu? Gpu { get; init; }
}

/// <summary>Measures what a sketch leaves open.</summary>
internal static class MachineProbe
{
    /// <summary>One drive of the fourth PCIe generation.</summary>
    private const double UsualDrive = 7e9;

    /// <summary>Two channels of DDR5.</summary>
    private const double UsualMemory = 60e9;

    private static readonly TimeSpan s_driveTime = TimeSpan.FromSeconds(1.5);

    /// <param name="sketch">What is given.</param>
    /// <param name="subject">The model, whose drives are read where it has files; null for none.</param>
    /// <param name="progress">Told what is measured.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <param name="available">What the process may take; null for what there is now.</param>
    public static PlanMachine Complete(MachineSketch sketch, PlanSubject? subject, Action<string> progress, CancellationToken cancellationToken, ProcessMemory? available = null)
    {
        Fact cores = sketch.Cores is { } given ? Fact.Given(given) : Fact.Measured(CpuTopology.OfThisProcess.DefaultThreads);
        TileKernel kernel = TileKernel.Best();
        (Fact bandwidth, Fact operations, double widening) = Processor(sketch, kernel, progress, cancellationToken);
        ProcessMemory? memory = sketch.MemoryBytes is null ? available ?? ProcessMemory.Now() : null;
        return new PlanMachine
        {
            MemoryBytes = sketch.MemoryBytes is { } bytes ? Fact.Given(bytes) : Fact.Measured(memory!.AvailableBytes),
            MemoryLimit = memory is null ? "" : memory.Limit is { } limit ? $"available within the limit of {limit}" : "available to this process",
            PromisableBeyondBytes = memory?.UnpromisedBytes is { } unpromised ? Math.Max(0, unpromised - memory.AvailableBytes) : double.PositiveInfinity,
            MemoryBytesPerSecond = bandwidth,
            Cores = cores,
            OperationsPerSecondPerCore = operations,
            ByteOperationsFactor = widening * kernel.Kind switch
            {
                TileKernelKind.GeneratedAvx512Vnni or TileKernelKind.AvxVnni => 4,
                TileKernelKind.Scalar => 1,
                _ => 2,
            },
            BFloat16OperationsFactor = kernel.FastBFloat16Products is null ? 1 : 2,
            Drives = sketch.Drives ?? Drives(subject, progress, cancellationToken),
            Gpu = sketch.Gpu,
        };
    }

    /// <summary>Widening is how much more the vectors of products of bytes do than those of all else.</summary>
    private static (Fact Bandwidth, Fact Operations, double Widening) Processor(
        MachineSketch sketch, TileKernel kernel, Action<string> progress, CancellationToken cancellationToken)
    {
        if (kernel.Vectors == CpuFeatures.Best && sketch is { MemoryBytesPerSecond: { } bandwidth, OperationsPerSecondPerCore: { } operations })
        {
            return (Fact.Given(bandwidth), Fact.Given(operations), 1);
        }

        using var pool = new WorkerPool();
        (Fact arithmetic, double widening) = Arithmetic(sketch, pool, new KernelCeilings(pool, kernel), progress);
        return (sketch.MemoryBytesPerSecond is { } known ? Fact.Given(known) : MeasureMemory(pool, progress, cancellationToken), arithmetic, widening);
    }

    private static (Fact Operations, double Widening) Arithmetic(MachineSketch sketch, WorkerPool pool, KernelCeilings ceilings, Action<string> progress)
    {
        bool isWider = ceilings.Bytes != ceilings.Compiled;
        if (sketch.OperationsPerSecondPerCore is { } known && !isWider)
        {
            return (Fact.Given(known), 1);
        }

        progress("arithmetic");
        double measured = ceilings.Compiled.Measure();
        return (
            sketch.OperationsPerSecondPerCore is { } given ? Fact.Given(given) : Fact.Measured(measured / pool.Threads),
            isWider ? ceilings.Bytes.Measure() / measured : 1);
    }

    private static Fact MeasureMemory(WorkerPool pool, Action<string> progress, CancellationToken cancellationToken)
    {
        progress("memory");
        using KimiCpu.Compute.IBandwidthMeasurement? measurement = new CpuMemory(pool).Start();
        if (measurement is null)
        {
            return Fact.Assumed(UsualMemory);
        }

        while (measurement.Advance())
        {
            cancellationToken.ThrowIfCancellationRequested();
        }

        return Fact.Measured(measurement.BytesPerSecond);
    }

    /// <summary>Each drive that holds shards, alone.</summary>
    private static List<PlanDrives> Drives(PlanSubject? subject, Action<string> progress, CancellationToken cancellationToken)
    {
        List<PlanDrives> drives = [];
        string? folder = subject?.Folder;
        string[] shards = folder is null ? [] : [.. ShardIndex.Read(new FolderCheckpointFiles(folder)).Shards.Select(s => Path.Combine(folder, s))];
        bool isKnown = true;
        foreach (IGrouping<string, string> drive in shards.GroupBy(DriveNames.Of))
        {
            progress($"drive {drive.Key}");
            double[]? shares = subject!.ExpertShares.GetValueOrDefault(drive.Key);
            if (DriveBandwidthProbe.Measure([.. drive], s_driveTime, cancellationToken) is { } found)
            {
                string name = found.Unbuffered ? drive.Key : $"{drive.Key} (through the page cache, so memory may have answered)";
                drives.Add(new PlanDrives(name, 1, Fact.Measured(found.BytesPerSecond)) { LayerShares = shares });
            }
            else if (shares?.Any(s => s > 0) == true)
            {
                isKnown = false;
            }
        }

        if (!isKnown)
        {
            // Where the rate of a drive with experts is not known, neither is what its layers take.
            drives = [.. drives.Select(d => d with { LayerShares = null })];
        }

        return drives.Count > 0 ? drives : [new PlanDrives("NVMe", 1, Fact.Assumed(UsualDrive))];
    }
}
