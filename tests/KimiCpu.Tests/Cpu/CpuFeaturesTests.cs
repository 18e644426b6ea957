// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
internal sealed class CpuFeaturesTests
{
    /// <summary>Intel's processors have these products, too, at half the rate of multiply-adds.</summary>
    [TestCase(true, 25, true, TestName = "Zen 4")]
    [TestCase(true, 26, true, TestName = "Zen 5")]
    [TestCase(true, 0, false, TestName = "Emerald Rapids")]
    [TestCase(false, 25, false, TestName = "Zen 3")]
    [TestCase(false, 0, false, TestName = "All others")]
    public void Products_of_BF16_are_fast_on_AMDs_processors_that_have_them(bool hasProducts, int amdFamily, bool expected) =>
        Assert.That(CpuFeatures.AreFast(hasProducts, amdFamily), Is.EqualTo(expected));

    [TestCase(26, false, PrefetchStyle.EveryPage, TestName = "Pages from Zen 5 on")]
    [TestCase(25, false, PrefetchStyle.EveryLine, TestName = "Lines up to Zen 4")]
    [TestCase(0, true, PrefetchStyle.EveryLineTwice, TestName = "Lines twice on Intel's")]
    [TestCase(0, false, PrefetchStyle.EveryLine, TestName = "Lines on all others")]
    public void Memory_is_asked_for_as_it_was_measured(int amdFamily, bool isIntel, PrefetchStyle expected) =>
        Assert.That(CpuFeatures.StyleOf(amdFamily, isIntel), Is.EqualTo(expected));
}
