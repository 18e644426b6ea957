// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.CompilerServices;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Memory;

[TestFixture]
internal sealed class MacMemoryTests
{
    private const int Page = 16 << 10;

    [TestCase(1000u, 200u, 50u, 3000u, 3850)]
    [TestCase(100u, 200u, 50u, 3000u, 3050, Description = "the counts are not of one moment")]
    [TestCase(6000u, 0u, 0u, 6000u, 10_000, Description = "no more than there is")]
    public void Pages_of_files_count_as_free(uint free, uint ahead, uint purgeable, uint files, long expected)
    {
        var pages = new MacMemory.Pages { Free = free, ReadAhead = ahead, Purgeable = purgeable, OfFiles = files };
        Assert.That(MacMemory.Of(pages, Page, 10_000L * Page), Is.EqualTo(new ProcessMemory(expected * Page, 10_000L * Page, null)));
    }

    [Test]
    public void Fields_lie_where_the_system_writes_them()
    {
        Assert.That(Unsafe.SizeOf<MacMemory.Pages>(), Is.EqualTo(152));
        Assert.That(MacMemory.Read(), OperatingSystem.IsMacOS() ? Is.Not.Null : Is.Null);
    }
}
