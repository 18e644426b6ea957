// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.ExpertStore;

[TestFixture]
internal sealed class SlotMemoryTests
{
    /// <summary>More than a process has addresses for.</summary>
    [Test]
    public void Memory_that_the_system_refuses_is_named_with_the_option_that_asked_for_it() =>
        Assert.That(
            () => new SlotMemory(1 << 20, 1L << 34),
            Throws.TypeOf<InsufficientMemoryException>().With.Message.Contains("18014398.5 GB of memory for 1,048,576 experts").And.Message.Contains("KimiModelOptions.ExpertMemory").And.InnerException.InstanceOf<OutOfMemoryException>());
}
