// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed unsafe class LookAheadTests
{
    private static readonly int[] s_tokens = [.. Enumerable.Range(0, 70).Select(i => (i * 37) % 500)];

    [Test]
    public void Logits_are_the_same_bits_with_and_without(
        [Values("tiny-int4", "tiny-bf16", "tiny-k25")] string checkpoint, [Values(Backend.Reference, Backend.CpuExact, Backend.CpuFast, Backend.CpuInt8)] Backend backend)
    {
        using var without = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend, threads: 2);
        using var with = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend, threads: 2, lookAhead: true);
        Assert.That(with.Logits(s_tokens, 64, 1), Is.EqualTo(without.Logits(s_tokens, 64, 1)));
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Logits_are_the_same_bits_with_and_without_on_a_GPU()
    {
        using var checkpoint = new SyntheticModel();
        int[] tokens = s_tokens[..12];
        using var without = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 1);
        using var with = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 1, lookAhead: true);
        Assert.That(with.Logits(tokens, 9, 1), Is.EqualTo(without.Logits(tokens, 9, 1)));
    }

    /// <summary>A store is not to read what the GPU holds.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_GPU_says_which_of_the_predicted_experts_it_holds()
    {
        using var checkpoint = new SyntheticModel();
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 1, lookAhead: true);
        int experts = model.Weights.Shape.ExpertCount;
        int told = 0;
        model.Forward.Routed = (layer, rows) =>
        {
            Assert.That(rows.Elsewhere != null);
            Assert.That(rows.PredictedElsewhere != null, Is.EqualTo(rows.Predicted != null));
            for (int e = 0; rows.Predicted != null && e < experts; e++)
            {
                Assert.That(rows.PredictedElsewhere[e], Is.EqualTo(model.ExpertsOnGpu!.Held[((layer + 1) * experts) + e]));
                told++;
            }
        };
        model.Logits([1, 2, 3]);
        Assert.That(told, Is.EqualTo(experts), "of the second MoE layer, by the first one");
    }

    [Test]
    public void Cpu_predicts_as_the_reference_does([Values("tiny-int4", "tiny-k25")] string checkpoint)
    {
        List<int[]?> expected = Predictions(Repository.Checkpoint(checkpoint), Backend.Reference);
        List<int[]?> found = Predictions(Repository.Checkpoint(checkpoint), Backend.CpuExact);
        Assert.That(found, Has.Count.EqualTo(expected.Count));
        Assert.That(expected[^1], Is.Null, "Nothing follows the last layer.");
        Assert.That(expected[..^1], Has.None.Null);
        for (int layer = 0; layer < expected.Count - 1; layer++)
        {
            int same = expected[layer]!.Zip(found[layer]!).Count(p => p.First == p.Second);
            Assert.That(same, Is.GreaterThan(0.97 * expected[layer]!.Length), "Near ties may fall either way.");
        }

        Assert.That(found[^1], Is.Null);
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Nothing_is_predicted_unless_it_is_asked_for([Values(Backend.Reference, Backend.CpuFast, Backend.Gpu)] Backend backend)
    {
        using var checkpoint = new SyntheticModel();
        using var model = new ModelUnderTest(checkpoint.Folder, backend);
        int layers = 0;
        model.Forward.Routed = (_, rows) => layers += rows.Predicted is null ? 1 : 100;
        model.Logits([1, 2, 3]);
        Assert.That(layers, Is.EqualTo(2));
    }

    /// <summary>On a trained model, far more than by chance, which finds 4 of 24.</summary>
    [Test]
    public void Most_experts_of_a_trained_model_are_foreseen()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, lookAhead: true);
        int chosen = model.Weights.Shape.ExpertsPerToken;
        int[]? predicted = null;
        int hits = 0;
        int asked = 0;
        model.Forward.Routed = (_, rows) =>
        {
            for (int i = 0; predicted is not null && i < rows.RowCount * chosen; i++)
            {
                asked++;
                hits += predicted.AsSpan(i / chosen * chosen, chosen).Contains(rows.Experts[i]) ? 1 : 0;
            }

            predicted = rows.Predicted is null ? null : new ReadOnlySpan<int>(rows.Predicted, rows.RowCount * chosen).ToArray();
        };
        KimiCpu.Tokens.KimiTokenizer tokenizer = KimiCpu.Tokens.KimiTokenizer.Open(Repository.NanoModel);
        model.Logits(tokenizer.Encode("BRUTUS:\nBeing moved, he will not spare to gird the gods.\n\nSICINIUS:\nBe-mock the modest moon.\n"));
        Assert.That(asked, Is.GreaterThan(100));
        Assert.That((double)hits / asked, Is.GreaterThan(0.7));
    }

    private static List<int[]?> Predictions(string folder, Backend backend)
    {
        using var model = new ModelUnderTest(folder, backend, lookAhead: true);
        var predictions = new List<int[]?>();
        int chosen = model.Weights.Shape.ExpertsPerToken;
        model.Forward.Routed = (_, rows) => predictions.Add(rows.Predicted is null ? null : new ReadOnlySpan<int>(rows.Predicted, rows.RowCount * chosen).ToArray());
        model.Logits(s_tokens);
        return predictions;
    }
}
