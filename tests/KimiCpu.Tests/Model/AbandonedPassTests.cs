// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

/// <summary>A pass that nobody wants any more ends between two layers and leaves nothing behind.</summary>
[TestFixture]
internal sealed class AbandonedPassTests
{
    [Test]
    public void Passes_after_an_abandoned_one_have_the_bits_of_passes_without_it([Values(Backend.Reference, Backend.CpuFast)] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend);
        Check(model);
    }

    [Test]
    public void Experts_from_files_too()
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, slotBytes: 1 << 16, lookAhead: true);
        Check(model);
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Or_on_a_GPU()
    {
        using var checkpoint = new SyntheticModel();
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.Gpu, threads: 2, lookAhead: true);
        Check(model);
    }

    private static void Check(ModelUnderTest model)
    {
        int[] tokens = [5, 17, 3, 99, 42, 8, 61, 30, 2, 77];
        float[] expected = model.Logits(tokens, 4, 6);
        int layers = model.Weights.Shape.LayerCount;
        for (int last = 0; last < layers; last++)
        {
            using KvSequence sequence = model.Cache.CreateSequence();
            var logits = new float[tokens.Length * model.Vocabulary];
            model.Step(sequence, tokens.AsSpan(0, 4), logits.AsSpan(0, 4 * model.Vocabulary));
            Assert.That(sequence.TryExtend(6));
            var batch = new RaggedBatch();
            batch.Add([1, 2, 4, 6, 7, 9], sequence.Length, sequence.Pages, LogitsWanted.All);
            int asked = 0;
            Assert.That(model.Forward.Run(batch, new float[6 * model.Vocabulary], layer => layer == asked++ && layer != last), Is.False);
            Assert.That(asked, Is.EqualTo(last + 1));
            model.Step(sequence, tokens.AsSpan(4), logits.AsSpan(4 * model.Vocabulary));
            Assert.That(logits, Is.EqualTo(expected), $"before layer {last}");
        }
    }
}
