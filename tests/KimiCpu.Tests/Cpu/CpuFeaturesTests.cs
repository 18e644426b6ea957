// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu;

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
}
