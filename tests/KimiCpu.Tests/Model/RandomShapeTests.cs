// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Cpu.Threading;

namespace KimiCpu.Tests.Model;

/// <summary>Models of random sizes, most of which fit nothing: neither steps nor threads nor what was in memory before change a bit.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class RandomShapeTests
{
    private static readonly Backend[] s_backends = [Backend.CpuFast, Backend.CpuInt8, Backend.CpuExact];

    [Test]
    public void Logits_of_a_text_are_numbers_and_always_the_same([Range(1, 12)] int seed)
    {
        var random = new Random(seed);
        string shape = Shape(random);
        using var checkpoint = new SyntheticModel(shape);
        int[] tokens = [.. Enumerable.Range(0, Pick(random, 9, 33, 70)).Select(_ => random.Next(67))];
        var twoNodes = new CpuTopology(Enumerable.Range(0, 6).Select(c => new LogicalProcessor(c, c, c / 2)));
        foreach (Backend backend in s_backends)
        {
            using var one = new ModelUnderTest(checkpoint.Folder, backend, threads: 1);
            float[] expected = one.Logits(tokens);
            Assert.That(expected.All(float.IsFinite), $"{backend}, {shape}");
            using var several = new ModelUnderTest(checkpoint.Folder, backend, threads: 3, random.Next(2) == 0 ? twoNodes : null);
            several.Pool.ActiveThreads = random.Next(1, 4);
            Assert.That(several.Logits(tokens, 1, random.Next(2, 9), random.Next(1, 40)), Is.EqualTo(expected), $"{backend}, {shape}");
        }
    }

    private static string Shape(Random random) =>
        $"nano,hidden={Pick(random, 32, 64, 100, 200, 256, 544)},layers=2,intermediate={Pick(random, 32, 150, 256, 300)},experts={Pick(random, 4, 7)},topk={Pick(random, 1, 2, 4)}"
        + $",moe={Pick(random, 8, 32, 40, 72, 512, 520)},shared={Pick(random, 1, 2)},heads={Pick(random, 1, 2, 3, 9)},qlora={Pick(random, 16, 50, 256)},kvlora={Pick(random, 16, 44, 64, 128, 192)}"
        + $",nope={Pick(random, 4, 7, 16, 24, 65)},rope={Pick(random, 2, 4, 6, 16)},v={Pick(random, 3, 8, 10, 32)},vocab={Pick(random, 67, 131)}";

    private static int Pick(Random random, params ReadOnlySpan<int> of) => of[random.Next(of.Length)];
}
