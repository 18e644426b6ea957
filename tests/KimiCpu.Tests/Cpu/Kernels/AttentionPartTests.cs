// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu.Kernels;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed unsafe class AttentionPartTests
{
    private const int Width = 19;

    /// <summary>Whichever part has the larger maximum, and however much larger.</summary>
    [Test]
    public void Two_parts_are_a_softmax_over_the_tokens_of_both([Values(-200f, -1.5f, 0f, 1.5f, 200f)] float apart)
    {
        float[] first = Part(1, 0.25f, 2), second = Part(2, 0.25f + apart, 3);
        double common = Math.Max(first[Width], second[Width]);
        double before = Math.Exp(first[Width] - common), added = Math.Exp(second[Width] - common);
        double[] expected = [.. first[..Width].Zip(second, (x, y) => (x * before) + (y * added)), common, (2 * before) + (3 * added)];
        Assert.That(Sum(first, second), Is.EqualTo(expected).Within(1e-6));
    }

    [Test]
    public void A_part_that_saw_no_token_changes_nothing([Values(float.MinValue, float.NegativeInfinity, 5f)] float maximum)
    {
        float[] before = Part(1, 0.25f, 2);
        Assert.That(Sum(before, Part(2, maximum, 0)), Is.EqualTo(before));
    }

    [Test]
    public void Nothing_is_left_of_a_beginning_that_saw_no_token([Values(float.MinValue, float.NegativeInfinity)] float maximum)
    {
        float[] none = Part(1, maximum, 0);
        none.AsSpan(0, Width).Clear();
        float[] part = Part(2, -3, 2);
        Assert.That(Sum(none, part), Is.EqualTo(part));
    }

    [TestCase(float.NaN, 1f)]
    [TestCase(1f, float.NaN)]
    [TestCase(float.NaN, float.NaN)]
    [TestCase(float.PositiveInfinity, float.PositiveInfinity)]
    public void Maxima_that_are_no_numbers_reach_the_result(float first, float second) =>
        Assert.That(Sum(Part(1, first, 2), Part(2, second, 3))[..Width], Is.All.NaN);

    /// <summary>Kernels may lose a NaN from their maximum, but not from their sum.</summary>
    [Test]
    public void A_sum_that_is_no_number_reaches_the_result([Values(-1f, 1f)] float maximum)
    {
        float[] sum = Sum(Part(1, 0, 2), Part(2, maximum, float.NaN));
        Assert.That(sum[Width + 1], Is.NaN);
    }

    private static float[] Part(int seed, float maximum, float sum)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Width).Select(_ => random.NextSingle() - 0.5f), maximum, sum];
    }

    private static float[] Sum(float[] first, float[] second)
    {
        float[] total = [.. first];
        fixed (float* p = second, t = total)
        {
            AttentionPart.Add(p, t, Width);
        }

        return total;
    }
}
