// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Model;

/// <summary>What the store is told of layers whose experts a GPU holds.</summary>
[TestFixture]
internal sealed unsafe class ElsewhereLayerTests
{
    /// <summary>A GPU may hold all experts that the tokens of a layer choose, of one layer in one step and of another in the next.</summary>
    [Test]
    public void A_layer_whose_experts_are_all_elsewhere_belongs_to_its_step_too()
    {
        CountingPolicy? policy = null;
        using ModelUnderTest tiered = Open((layers, experts) => policy = new CountingPolicy(layers * experts));
        Run(tiered, 1, isElsewhere: false);
        Run(tiered, 2, isElsewhere: true);
        Assert.That(policy!.Steps, Is.Zero, "the first one, which nothing ends");
        Run(tiered, 1, isElsewhere: true);
        Run(tiered, 2, isElsewhere: false);
        Assert.That(policy.Steps, Is.EqualTo(1));
    }

    [Test]
    public void A_layer_whose_experts_are_all_elsewhere_reads_ahead_for_the_next_one()
    {
        using ModelUnderTest tiered = Open();
        Assert.That(Run(tiered, 1, isElsewhere: true), Is.All.Zero);
        int count = tiered.Weights.Shape.ExpertsPerToken;
        Assert.That(() => tiered.Store.DriveBytesRead, Is.GreaterThanOrEqualTo(count * tiered.Weights.Layers[^1].Experts[0].TotalBytes).After(20_000, 20));
        Run(tiered, 2, isElsewhere: false);
        Assert.That((tiered.Store.Counters.Hits + tiered.Store.Counters.Late, tiered.Store.Counters.Misses), Is.EqualTo((count, 0)));
    }

    /// <summary>One token that chooses the first experts, and is expected to do so in the next layer.</summary>
    private static float[] Run(ModelUnderTest model, int layer, bool isElsewhere)
    {
        ModelShape shape = model.Weights.Shape;
        int[] chosen = [.. Enumerable.Range(0, shape.ExpertsPerToken)];
        (float[] hidden, float[] weights, float[] sum) = (new float[shape.HiddenSize], new float[chosen.Length], new float[shape.HiddenSize]);
        bool[] elsewhere = [.. Enumerable.Repeat(isElsewhere, shape.ExpertCount)];
        sum.AsSpan().Fill(1);
        fixed (float* row = hidden, factors = weights)
        {
            fixed (int* ids = chosen)
            {
                fixed (bool* all = elsewhere)
                {
                    model.Experts.Run(layer, new RoutedRows(1, row, ids, factors, ids) { Elsewhere = all }, sum);
                }
            }
        }

        return sum;
    }

    /// <summary>With twenty slots.</summary>
    private static ModelUnderTest Open(Func<int, int, IEvictionPolicy>? policy = null)
    {
        using var all = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, slotBytes: long.MaxValue);
        var options = new TieredStoreOptions { Bytes = 20 * all.Store.SlotBytes };
        return new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, threads: 1, slotBytes: options.Bytes, store: policy is null ? options : options with { Policy = policy });
    }

    /// <summary>Any policy, and how often it was told that a step begins.</summary>
    private sealed class CountingPolicy(int keys) : IEvictionPolicy
    {
        private readonly LeastRecentlyUsed _inner = new(keys);

        public int Steps { get; private set; }

        public string Name => _inner.Name;

        public void BeginStep()
        {
            Steps++;
            _inner.BeginStep();
        }

        public void BeginLayer(int layer) => _inner.BeginLayer(layer);

        public void Use(int key) => _inner.Use(key);

        public double Priority(int key) => _inner.Priority(key);
    }
}
