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
    /// <summary>Also where narrower vectors are preferred, in a child process: wider products of bytes are compared with what all else computes with.</summary>
    [Test]
    public void Products_of_bytes_that_are_wider_than_all_else_are_measured()
    {
        var sketch = new MachineSketch
        {
            MemoryBytes = 256e9,
            MemoryBytesPerSecond = 90e9,
            Cores = 16,
            OperationsPerSecondPerCore = 117e9,
            Drives = [new PlanDrives("NVMe", 1, Fact.Given(7e9))],
        };
        List<string> measured = [];
        PlanMachine machine = MachineProbe.Complete(sketch, null, measured.Add, default);
        TileKernel kernel = TileKernel.Best();
        Assert.That(machine.OperationsPerSecondPerCore, Is.EqualTo(Fact.Given(117e9)));
        Assert.That(measured, Is.EqualTo(kernel.Vectors == CpuFeatures.Best ? Array.Empty<string>() : ["arithmetic"]));
        Assert.That(machine.ByteOperationsFactor, Is.GreaterThan(0).And.LessThan(1e3));
    }
}
