// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed class WindowsMemoryTests
{
    [TestCase(300, 300, 200, 250, 200, Description = "less is unused than could be promised")]
    [TestCase(300, 400, 200, 20, 20, Description = "nearly all is promised, and hardly used yet")]
    [TestCase(100, 50, 90, 45, 45, Description = "a job allows less than the machine has")]
    public void Available_is_what_is_unused_and_may_be_promised(long machine, long promisable, long unused, long unpromised, long expected)
    {
        var status = new WindowsMemory.Status { MachineBytes = (ulong)machine, PromisableBytes = (ulong)promisable, UnusedBytes = (ulong)unused, UnpromisedBytes = (ulong)unpromised };
        ProcessMemory memory = WindowsMemory.Of(status);
        Assert.That((memory.AvailableBytes, memory.UnusedBytes, memory.TotalBytes), Is.EqualTo((expected, unused, Math.Min(machine, promisable))));
        Assert.That(memory.UnpromisedBytes, Is.EqualTo(unpromised));
    }

    [Test]
    public void Fields_lie_where_the_system_writes_them()
    {
        Assert.That(Unsafe.SizeOf<WindowsMemory.Status>(), Is.EqualTo(64));
        Assert.That(WindowsMemory.Read(), OperatingSystem.IsWindows() ? Is.Not.Null : Is.Null);
    }
}
