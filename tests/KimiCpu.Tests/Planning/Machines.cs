// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

/// <summary>Made-up machines.</summary>
internal static class Machines
{
    public static PlanSubject Thinking { get; } = PlanSubject.Open("Kimi-K2-Thinking");

    /// <summary>A workstation of 16 cores without a GPU.</summary>
    public static PlanMachine Workstation(double memory = 256e9, double drive = 7e9, double bandwidth = 90e9) => new()
    {
        MemoryBytes = Fact.Given(memory),
        MemoryBytesPerSecond = Fact.Given(bandwidth),
        Cores = Fact.Given(16),
        OperationsPerSecondPerCore = Fact.Given(117e9),
        ByteOperationsFactor = 4,
        BFloat16OperationsFactor = 2,
        Drives = [new PlanDrives("NVMe", 1, Fact.Given(drive))],
    };

    public static PlanGpu Card(int gibibytes) => new((long)gibibytes << 30, Fact.Given(1e12), Fact.Given(25e9));

    /// <summary>Nothing lost anywhere, and everything that can overlap does: the bounds themselves.</summary>
    public static SpeedParameters Ideal { get; } = new()
    {
        MemoryEfficiency = 1,
        DecodedBytesPerOperation = 1e6,
        DriveEfficiency = 1,
        DriveOverlap = 1,
        SecondsPerLayer = 0,
    };
}
