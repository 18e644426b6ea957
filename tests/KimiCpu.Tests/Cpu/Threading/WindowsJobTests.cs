// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Cpu.Threading;

[TestFixture]
internal sealed class WindowsJobTests
{
    /// <summary>64 of 192 processors are a third of the machine, and as many as a group has. Weights limit nothing while others are idle.</summary>
    [TestCase(0x5U, 3334U, true)]
    [TestCase(0x5U, 10_000U, false)]
    [TestCase(0x4U, 3334U, false)]
    [TestCase(0x3U, 5U, false)]
    [TestCase(0x11U, (3334U << 16) | 100, true)]
    [TestCase(0x11U, (10_000U << 16) | 100, false)]
    [TestCase(0U, 0U, false)]
    public void A_cap_of_the_rate_is_a_limit(uint flags, uint rate, bool expected) => Assert.That(WindowsJob.IsLimit(flags, rate), Is.EqualTo(expected));

    [Test]
    [Platform("Win")]
    public void This_process_can_ask() => Assert.That(WindowsJob.LimitsThisProcess, Throws.Nothing);
}
