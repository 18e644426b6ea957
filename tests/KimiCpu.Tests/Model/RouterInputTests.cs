// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu.Kernels;

namespace KimiCpu.Tests.Model;

/// <summary>Routers see single-precision rows also where other weights of their format have rounded ones: rounding would change which experts are chosen where two are about as good.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed unsafe class RouterInputTests
{
    private static readonly int[] s_tokens = [.. Enumerable.Range(0, 300).Select(i => (i * 37) % 500)];

    [Test]
    public void Experts_are_chosen_and_foreseen_by_rows_that_nobody_rounded(
        [Values("tiny-int4", "tiny-fp8", "tiny-bf16")] string checkpoint, [Values(Backend.CpuFast, Backend.CpuInt8)] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend, threads: 2, lookAhead: true);
        int layers = 0;
        int foreseen = 0;
        model.Forward.Routed = (layer, rows) =>
        {
            int count = rows.RowCount * model.Weights.Shape.ExpertsPerToken;
            (int[] experts, float[] factors) = Routed(model.Weights.Shape, model.Weights.Layers[layer].Router!, rows);
            Assert.That(new ReadOnlySpan<int>(rows.Experts, count).ToArray(), Is.EqualTo(experts), $"layer {layer}");
            Assert.That(new ReadOnlySpan<float>(rows.Weights, count).ToArray(), Is.EqualTo(factors), $"layer {layer}, to the bit");
            layers++;
            if (model.Weights.NextMoeLayer(layer) is { } next)
            {
                Assert.That(new ReadOnlySpan<int>(rows.Predicted, count).ToArray(), Is.EqualTo(Routed(model.Weights.Shape, next.Router!, rows).Experts), $"behind layer {layer}");
                foreseen++;
            }
        };
        model.Logits(s_tokens, 200, 1);
        const int Steps = 101;
        int moe = model.Weights.Layers.Count(l => l.IsMoe);
        Assert.That((layers, foreseen), Is.EqualTo((moe * Steps, (moe - 1) * Steps)).And.Not.EqualTo((Steps, 0)));
    }

    private static (int[] Experts, float[] Factors) Routed(ModelShape shape, RouterWeights weights, RoutedRows rows)
    {
        int chosen = shape.ExpertsPerToken;
        var logits = new float[rows.RowCount * shape.ExpertCount];
        fixed (float* target = logits)
        {
            FloatGemv.Multiply(weights.Gate, 0, shape.ExpertCount, rows.Hidden, shape.HiddenSize, rows.RowCount, target, shape.ExpertCount);
        }

        (int[] experts, float[] factors) = (new int[rows.RowCount * chosen], new float[rows.RowCount * chosen]);
        var router = new Router(shape);
        for (int row = 0; row < rows.RowCount; row++)
        {
            router.Route(logits.AsSpan(row * shape.ExpertCount, shape.ExpertCount), weights.CorrectionBias, experts.AsSpan(row * chosen, chosen), factors.AsSpan(row * chosen, chosen));
        }

        return (experts, factors);
    }
}
