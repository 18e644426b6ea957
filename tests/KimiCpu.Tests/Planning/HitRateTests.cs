// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

[TestFixture]
internal sealed class HitRateTests
{
    [TestCase(0.0, 0.25, 0.0)]
    [TestCase(0.4, 0.0, 0.4)]
    [TestCase(0.5, 0.15, 0.65)]
    [TestCase(0.5, 0.25, 0.75)]
    [TestCase(1.0, 0.25, 1.0)]
    public void Is_the_share_and_a_bonus_that_fades(double share, double bonus, double expected) =>
        Assert.That(HitRate.Of(share, bonus), Is.EqualTo(expected).Within(1e-9));

    [Test]
    public void Never_falls_with_the_share([Values(0, 0.15, 0.25)] double bonus)
    {
        double[] rates = [.. Enumerable.Range(0, 101).Select(i => HitRate.Of(i / 100.0, bonus))];
        Assert.That(rates, Is.Ordered);
        Assert.That(rates, Is.All.InRange(0, 1));
    }
}
