// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Cpu;

/// <summary>The small kernels of a layer against their references.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class LayerKernelTests
{
    [Test]
    public void RmsNorm_agrees_with_the_reference()
    {
        foreach (int size in Enumerable.Range(1, 80).Append(7168))
        {
            (float[] x, float[] weight) = (Values(size, size, 10), Values(size, size + 1, 2));
            var expected = new float[size];
            ReferenceOps.RmsNorm(x, weight, 1e-5f, expected);
            RmsNorm.Apply(x, weight, 1e-5f, x);
            Assert.That(x, Is.EqualTo(expected).Within(2e-6 * expected.Max(Math.Abs)), $"{size}");
        }
    }

    [Test]
    public void SwiGlu_agrees_with_the_reference_also_where_exponentials_overflow()
    {
        float[] gate = [.. Values(200, 3, 20), 88, -88, 100, -100, 1e30f, -1e30f, 0, -0f];
        float[] up = Values(gate.Length, 4, 3);
        var expected = new float[gate.Length];
        ReferenceOps.SwiGlu(gate, up, expected);
        SwiGlu.Apply(gate, up);
        for (int i = 0; i < gate.Length; i++)
        {
            Assert.That(gate[i], Is.EqualTo(expected[i]).Within(1e-6 * Math.Max(1e-6, Math.Abs(expected[i]))), $"{i}");
        }
    }

    [Test]
    public void Router_agrees_with_the_reference([Values(1, 4)] int groups, [Values(true, false)] bool normalize)
    {
        ModelShape shape = Shapes.Small() with { ExpertCount = 32, ExpertsPerToken = 6, ExpertGroupCount = groups, ExpertGroupsPerToken = Math.Min(2, groups), NormalizeExpertWeights = normalize };
        var router = new Router(shape);
        int compared = 0;
        for (int round = 0; round < 200; round++)
        {
            (float[] logits, float[] bias) = (Values(32, round, 4), Values(32, 1000 + round, 0.5f));
            (int[] ids, float[] weights) = (new int[6], new float[6]);
            (int[] expectedIds, float[] expectedWeights) = (new int[6], new float[6]);
            router.Route(logits, bias, ids, weights);
            if (ReferenceRouter.Route(shape, logits, bias, expectedIds, expectedWeights) > 1e-5)
            {
                (int[] ordered, int[] expectedOrdered) = ([.. ids], [.. expectedIds]);
                Array.Sort(ordered, weights);
                Array.Sort(expectedOrdered, expectedWeights);
                Assert.That(ordered, Is.EqualTo(expectedOrdered));
                Assert.That(weights, Is.EqualTo(expectedWeights).Within(1e-5), "of each expert");
                compared++;
            }
        }

        Assert.That(compared, Is.GreaterThan(180), "near-ties, which may go either way, are rare");
    }

    [Test]
    public void Router_breaks_ties_by_the_lower_id_and_ignores_the_bias_in_weights()
    {
        ModelShape shape = Shapes.Small() with { ExpertCount = 8, ExpertsPerToken = 3, RoutedScalingFactor = 3 };
        (int[] ids, float[] weights) = (new int[3], new float[3]);
        new Router(shape).Route(new float[8], [0, 0, 0, 0, 0, 0, 0, 0.25f], ids, weights);
        Assert.That(ids, Is.EqualTo(new[] { 7, 0, 1 }));
        Assert.That(weights, Is.All.EqualTo(1).Within(1e-6));
    }

    /// <summary>A NaN may hide whom it should have been; any choice among the others would look like an answer.</summary>
    [Test]
    public void Router_passes_a_NaN_on_to_all_weights([Values(1, 4)] int groups, [Values(1, 7, 8)] int count, [Values] bool inBias)
    {
        ModelShape shape = Shapes.Small() with { ExpertCount = 8, ExpertsPerToken = 3, ExpertGroupCount = groups, ExpertGroupsPerToken = Math.Min(2, groups) };
        (float[] logits, float[] bias) = (Values(8, 1, 4), Values(8, 2, 0.5f));
        (inBias ? bias : logits).AsSpan(8 - count).Fill(float.NaN);
        (int[] ids, float[] weights) = (new int[3], new float[3]);
        new Router(shape).Route(logits, bias, ids, weights);
        Assert.That(ids, Is.EqualTo(new[] { 0, 1, 2 }));
        Assert.That(weights, Is.All.NaN);
        ReferenceRouter.Route(shape, logits, bias, ids, weights);
        Assert.That(ids, Is.EqualTo(new[] { 0, 1, 2 }), "reference");
        Assert.That(weights, Is.All.NaN, "reference");
    }

    private static float[] Values(int count, int seed, float range)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() - 0.5f) * range)];
    }
}
