// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cli;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class OpenedModelTests
{
    [TestCase(null, false)]
    [TestCase(2L << 20, true)]
    [CancelAfter(60_000)]
    public void Experts_are_where_a_model_of_the_library_would_have_them(long? memory, bool inSlots)
    {
        using OpenedModel opened = OpenedModel.Open(OpenedModel.OpenCheckpoint(Repository.NanoModel), new CpuBackendOptions { Threads = 1 }, memory, context: 100, chunk: 16);
        Assert.That(opened.Store, inSlots ? Is.Not.Null : Is.Null);
    }

    [Test]
    [CancelAfter(60_000)]
    public void The_embedded_models_experts_are_in_an_assembly_and_stay_there()
    {
        using OpenedModel opened = OpenedModel.Open(OpenedModel.OpenCheckpoint(null), new CpuBackendOptions { Threads = 1 }, 2 << 20, context: 100, chunk: 16);
        Assert.That(opened.Store, Is.Null);
    }
}
