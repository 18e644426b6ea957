// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

/// <summary>Whole models whose sizes fit no vector, group or block, against the reference backend.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class OddShapeTests
{
    [TestCase("nano,hidden=200,layers=3,intermediate=150,experts=10,topk=3,moe=72,heads=3,qlora=50,kvlora=44,nope=12,rope=6,v=10,vocab=131", 1)]
    [TestCase("nano,hidden=136,layers=2,dense=1,intermediate=40,experts=12,topk=4,moe=40,shared=3,heads=9,qlora=17,kvlora=30,nope=7,rope=2,v=5,vocab=67", 4)]
    [TestCase("nano,hidden=1056,layers=2,experts=4,topk=1,moe=544,heads=2,vocab=257", 1)]
    [TestCase("nano,hidden=200,layers=2,experts=4,topk=1,moe=512,heads=3,vocab=131", 1)]
    [TestCase("nano,hidden=288,layers=2,experts=4,topk=1,moe=40,heads=3,vocab=131", 1)]
    [TestCase("nano,hidden=64,layers=2,intermediate=32,experts=4,topk=1,moe=32,heads=2,qlora=16,kvlora=192,nope=7,rope=2,v=5,vocab=67", 1)]
    [TestCase("nano,hidden=200,layers=3,intermediate=150,experts=3,topk=3,moe=72,heads=3,qlora=50,kvlora=44,nope=12,rope=6,v=10,vocab=131", 1)]
    [TestCase("nano,hidden=136,layers=2,dense=1,intermediate=40,experts=4,topk=4,moe=40,shared=3,heads=9,qlora=17,kvlora=30,nope=7,rope=2,v=5,vocab=67", 1)]
    [TestCase("nano,hidden=64,layers=2,intermediate=32,experts=2,topk=2,moe=32,heads=2,qlora=16,kvlora=192,nope=7,rope=2,v=5,vocab=67", 1)]
    public void Fast_and_exact_agree_with_the_reference(string shape, int expertGroups)
    {
        using var checkpoint = new SyntheticModel(shape, json => SetGroups(json, expertGroups));
        int[] tokens = Tokens(90);
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using var exact = new ModelUnderTest(checkpoint.Folder, Backend.CpuExact);
        float[] expected = reference.Logits(tokens);
        Agreement agreement = Agreement.Of(expected, exact.Logits(tokens, 30), reference.Vocabulary);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(2e-5));
        foreach (Backend backend in new[] { Backend.CpuFast, Backend.CpuInt8 })
        {
            AssertNear(checkpoint.Folder, backend, tokens, expected);
        }
    }

    /// <summary>With sizes that leave all experts to the CPU, and with sizes of which the GPU takes some.</summary>
    [TestCase("nano,hidden=136,layers=2,dense=1,intermediate=40,experts=12,topk=4,moe=40,shared=3,heads=9,qlora=17,kvlora=30,nope=7,rope=2,v=5,vocab=67", 4, false)]
    [TestCase("nano,hidden=96,layers=3,intermediate=40,experts=5,topk=3,moe=160,shared=2,heads=3,qlora=17,kvlora=44,nope=7,rope=6,v=5,vocab=131", 1, true)]
    [Category(GpuUnderTest.Category)]
    public void A_GPU_agrees_with_the_reference(string shape, int expertGroups, bool takesExperts) => AssertGpuIsNear(shape, json => SetGroups(json, expertGroups), takesExperts);

    /// <summary>What the GPU adds of its experts then stands alone, or there is nothing to add.</summary>
    [TestCase("nano,hidden=96,layers=3,intermediate=40,experts=5,topk=3,moe=32,heads=3,qlora=17,kvlora=44,nope=7,rope=6,v=5,vocab=67", true)]
    [TestCase("nano,hidden=72,layers=3,intermediate=40,experts=5,topk=3,moe=32,heads=3,qlora=17,kvlora=44,nope=7,rope=6,v=5,vocab=67", false)]
    [Category(GpuUnderTest.Category)]
    public void A_GPU_agrees_with_the_reference_without_a_shared_expert(string shape, bool takesExperts) => AssertGpuIsNear(shape, json => json["n_shared_experts"] = 0, takesExperts);

    private static void AssertGpuIsNear(string shape, Action<JsonNode> change, bool takesExperts)
    {
        using var checkpoint = new SyntheticModel(shape, change);
        int[] tokens = Tokens(9);
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using (var gpu = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2))
        {
            Assert.That(gpu.ExpertsOnGpu is not null, Is.EqualTo(takesExperts));
        }

        AssertNear(checkpoint.Folder, Backend.Gpu, tokens, reference.Logits(tokens));
    }

    private static void AssertNear(string folder, Backend backend, int[] tokens, float[] expected)
    {
        using var model = new ModelUnderTest(folder, backend, threads: 2);
        float[] rounded = model.Logits(tokens, 64, 1);
        Agreement agreement = Agreement.Of(expected, rounded, model.Vocabulary);
        TestContext.Out.WriteLine($"{backend}: {agreement}");
        Assert.That(agreement.MedianCosine, Is.GreaterThanOrEqualTo(0.99), $"{backend}");
        Assert.That(agreement.Parted, Is.LessThanOrEqualTo(0.05), $"{backend}");
        Assert.That(agreement.LateParted, Is.LessThanOrEqualTo(0.1), $"{backend}");
        if (model.Weights.Shape.ExpertsPerToken == model.Weights.Shape.ExpertCount)
        {
            Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999), $"{backend}: a router can choose no others");
        }

        Assert.That(model.Logits(tokens, 7), Is.EqualTo(rounded), $"{backend}");
    }

    private static int[] Tokens(int count)
    {
        var random = new Random(3);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(67))];
    }

    private static void SetGroups(JsonNode config, int groups)
    {
        config["n_group"] = groups;
        config["topk_group"] = Math.Min(2, groups);
    }
}
