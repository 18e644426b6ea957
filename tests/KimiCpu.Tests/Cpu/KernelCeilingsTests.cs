// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Tiles;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
[Category("Kernels")]
internal sealed class KernelCeilingsTests
{
    /// <summary>Also where narrower vectors are preferred, in a child process.</summary>
    [Test]
    public void Each_ceiling_is_that_of_the_vectors_of_its_kernels([Values] bool allowGeneratedCode)
    {
        using var pool = new WorkerPool(1);
        TileKernel kernel = TileKernel.Best(allowGeneratedCode);
        var ceilings = new KernelCeilings(pool, kernel);
        Assert.That(ceilings.Compiled.Vectors, Is.EqualTo(CpuFeatures.Best));
        Assert.That(ceilings.Bytes.Vectors, Is.EqualTo(kernel.Kind == TileKernelKind.GeneratedAvx512Vnni ? InstructionSet.Avx512 : CpuFeatures.Best));
        Assert.That(ceilings.Bytes == ceilings.Compiled, Is.EqualTo(ceilings.Bytes.Vectors == CpuFeatures.Best));
    }
}
