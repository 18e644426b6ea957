// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Planning;

namespace KimiCpu.Tests.Planning;

[TestFixture]
internal sealed class HitRateTests
{
    [TestCase(0.0, 0.0, 0.25, 0.0)]
    [TestCase(0.4, 0.0, 0.0, 0.4)]
    [TestCase(0.5, 0.0, 0.15, 0.65)]
    [TestCase(0.5, 0.0, 0.25, 0.75)]
    [TestCase(1.0, 0.0, 0.25, 1.0)]
    [TestCase(1.0, 1.2, 0.0, 1.0)]
    public void Is_the_share_and_a_bonus_that_fades(double share, double skew, double bonus, double expected) =>
        Assert.That(HitRate.Of(share, skew, bonus, 384), Is.EqualTo(expected).Within(1e-9));

    [Test]
    public void Skewed_use_is_the_sum_of_the_most_popular() =>
        Assert.That(HitRate.Of(0.5, skew: 1, bonus: 0, experts: 4), Is.EqualTo((1 + (1 / 2.0)) / (1 + (1 / 2.0) + (1 / 3.0) + (1 / 4.0))).Within(1e-12));

    [Test]
    public void Never_falls_with_the_share([Values(0, 0.5, 1)] double skew, [Values(0, 0.15, 0.25)] double bonus)
    {
        double[] rates = [.. Enumerable.Range(0, 101).Select(i => HitRate.Of(i / 100.0, skew, bonus, 384))];
        Assert.That(rates, Is.Ordered);
        Assert.That(rates, Is.All.InRange(0, 1));
    }
}
