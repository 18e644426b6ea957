// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Cpu.Experts;

[TestFixture]
internal sealed unsafe class ExpertGroupsTests
{
    [Test]
    public void Pairs_go_expert_by_expert_and_token_by_token_with_their_weights([Values(1, 7, 5000)] int tokens)
    {
        ModelShape shape = Shapes.Small();
        int chosen = shape.ExpertsPerToken;
        var random = new Random(tokens);
        int[] experts = [.. Enumerable.Range(0, tokens).SelectMany(_ => Enumerable.Range(0, shape.ExpertCount).OrderBy(_ => random.Next()).Take(chosen))];
        float[] weights = [.. experts.Select(_ => random.NextSingle())];
        (int Expert, int Token, float Weight)[] expected = [.. experts.Select((e, pair) => (e, pair / chosen, weights[pair])).OrderBy(p => p.e)];
        using var groups = new ExpertGroups(shape);
        fixed (int* e = experts)
        fixed (float* w = weights)
        {
            groups.Build(new RoutedRows(tokens, null, e, w));
        }

        var actual = new List<(int Expert, int Token, float Weight)>();
        for (int i = 0; i < groups.Count; i++)
        {
            for (int pair = groups[i].FirstPair; pair < groups[i].FirstPair + groups[i].PairCount; pair++)
            {
                Assert.That(groups.PairIndex[pair], Is.EqualTo(pair));
                actual.Add((groups[i].Expert, groups.TokenOf[pair], groups.WeightOf[pair]));
            }
        }

        Assert.That(actual, Is.EqualTo(expected));
        Assert.That((groups.PairCount, groups.LargestPairCount), Is.EqualTo((expected.Length, expected.CountBy(p => p.Expert).Max(c => c.Value))));
    }
}
