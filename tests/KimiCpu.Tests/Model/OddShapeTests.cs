// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Terminal;

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
    public void Fast_and_exact_agree_with_the_reference(string text, int expertGroups)
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            var streams = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false);
            string checkpoint = SyntheticCheckpoint.Prepare(BenchShape.Parse(text), folder, streams, CancellationToken.None);
            SetGroups(Path.Combine(checkpoint, "config.json"), expertGroups);
            var random = new Random(3);
            int[] tokens = [.. Enumerable.Range(0, 90).Select(_ => random.Next(67))];
            using var reference = new ModelUnderTest(checkpoint, Backend.Reference);
            using var exact = new ModelUnderTest(checkpoint, Backend.CpuExact);
            float[] expected = reference.Logits(tokens);
            Agreement agreement = Agreement.Of(expected, exact.Logits(tokens, 30), reference.Vocabulary);
            Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(2e-5));
            foreach (Backend backend in new[] { Backend.CpuFast, Backend.CpuInt8 })
            {
                using var fast = new ModelUnderTest(checkpoint, backend);
                float[] rounded = fast.Logits(tokens, 64, 1);
                Assert.That(Agreement.Of(expected, rounded, reference.Vocabulary).MedianCosine, Is.GreaterThanOrEqualTo(0.99), $"{backend}");
                Assert.That(fast.Logits(tokens, 7), Is.EqualTo(rounded), $"{backend}");
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void SetGroups(string config, int groups)
    {
        JsonNode json = JsonNode.Parse(File.ReadAllText(config))!;
        json["n_group"] = groups;
        json["topk_group"] = Math.Min(2, groups);
        File.WriteAllText(config, json.ToJsonString());
    }
}
