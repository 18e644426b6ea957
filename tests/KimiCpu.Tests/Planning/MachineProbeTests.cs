// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Tiles;
using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

[TestFixture]
[Category("Kernels")]
internal sealed class MachineProbeTests
{
    private static MachineSketch Sketch => new()
    {
        MemoryBytes = 256e9,
        MemoryBytesPerSecond = 90e9,
        Cores = 16,
        OperationsPerSecondPerCore = 117e9,
        Drives = [new PlanDrives("NVMe", 1, Fact.Given(7e9))],
    };

    [TestCase(null, double.PositiveInfinity)]
    [TestCase(64_000_000_000L, 0.0)]
    [TestCase(80_000_000_000L, 16e9)]
    public void What_the_system_promises_is_known_where_memory_is_measured(long? unpromised, double expected)
    {
        MachineSketch sketch = Sketch with { MemoryBytes = null };
        var memory = new ProcessMemory(64_000_000_000, 64_000_000_000, null) { UnpromisedBytes = unpromised };
        PlanMachine machine = MachineProbe.Complete(sketch, null, _ => { }, default, memory);
        Assert.That((machine.MemoryBytes, machine.PromisableBeyondBytes), Is.EqualTo((Fact.Measured(64e9), expected)));
        Assert.That(MachineProbe.Complete(Sketch, null, _ => { }, default, memory).PromisableBeyondBytes, Is.EqualTo(double.PositiveInfinity), "of memory that is made up nothing is known");
    }

    /// <summary>Also where narrower vectors are preferred, in a child process: wider products of bytes are compared with what all else computes with.</summary>
    [Test]
    public void Products_of_bytes_that_are_wider_than_all_else_are_measured()
    {
        List<string> measured = [];
        PlanMachine machine = MachineProbe.Complete(Sketch, null, measured.Add, default);
        TileKernel kernel = TileKernel.Best();
        Assert.That(machine.OperationsPerSecondPerCore, Is.EqualTo(Fact.Given(117e9)));
        Assert.That(measured, Is.EqualTo(kernel.Vectors == CpuFeatures.Best ? Array.Empty<string>() : ["arithmetic"]));
        Assert.That(machine.ByteOperationsFactor, Is.GreaterThan(0).And.LessThan(1e3));
    }
}
