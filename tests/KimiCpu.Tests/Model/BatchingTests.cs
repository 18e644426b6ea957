// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

/// <summary>Logits do not depend on how tokens are cut into passes, on who shares a pass, or on threads: to the bit.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class BatchingTests
{
    private static readonly string[] s_checkpoints = ["tiny-int4", "tiny-fp8", "tiny-bf16", "tiny-qproj"];
    private static readonly Backend[] s_backends = [Backend.CpuExact, Backend.CpuFast, Backend.CpuInt8];

    [Test]
    public void Chunks_of_any_size_give_the_same_logits(
        [ValueSource(nameof(s_checkpoints))] string checkpoint, [ValueSource(nameof(s_backends))] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend);
        int[] tokens = Golden.Load(checkpoint).Single(g => g.Name == "long").Tokens;
        float[] whole = model.Logits(tokens);
        Assert.That(model.Logits(tokens, 1), Is.EqualTo(whole), "token by token");
        Assert.That(model.Logits(tokens, 7, 64, 1, 2, 33), Is.EqualTo(whole), "ragged chunks");
    }

    [Test]
    [Category(GpuUnderTest.Category)]
    public void Neither_chunks_nor_others_matter_on_a_GPU([Values("tiny-qproj", "tiny-steady")] string checkpoint)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), Backend.Gpu, threads: 2);
        int[] tokens = Golden.Load(checkpoint).Single(g => g.Name == "long").Tokens[..40];
        float[] whole = model.Logits(tokens);
        Assert.That(model.Logits(tokens, 1), Is.EqualTo(whole), "token by token");
        Assert.That(model.Logits(tokens, 7, 2, 1, 13), Is.EqualTo(whole), "ragged chunks");
        Together(model, [tokens[..30], tokens[9..40], tokens[5..12], tokens[20..21]], [[20, 1, 3, 0], [1, 25, 1, 1], [9, 5, 3, 0]]);
    }

    [Test]
    public void A_sequence_among_others_gives_the_same_logits_as_alone(
        [ValueSource(nameof(s_checkpoints))] string checkpoint, [ValueSource(nameof(s_backends))] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint(checkpoint), backend);
        int[] tokens = Golden.Load(checkpoint).Single(g => g.Name == "long").Tokens;
        int[][] prompts = [tokens[..70], tokens[20..90], tokens[5..12], tokens[100..101]];
        Together(model, prompts, [[40, 1, 3, 0], [1, 50, 1, 1], [29, 19, 3, 0]]);
    }

    private static void Together(ModelUnderTest model, int[][] prompts, int[][] schedule)
    {
        float[][] alone = [.. prompts.Select(p => model.Logits(p))];

        KvSequence[] sequences = [.. prompts.Select(_ => model.Cache.CreateSequence())];
        float[][] together = [.. prompts.Select(p => new float[p.Length * model.Vocabulary])];
        foreach (int[] step in schedule)
        {
            var batch = new RaggedBatch();
            for (int s = 0; s < prompts.Length; s++)
            {
                if (step[s] > 0)
                {
                    Assert.That(sequences[s].TryExtend(step[s]));
                    batch.Add(prompts[s].AsSpan(sequences[s].Length, step[s]), sequences[s].Length, sequences[s].Pages, LogitsWanted.All);
                }
            }

            var logits = new float[batch.RowCount * model.Vocabulary];
            model.Forward.Run(batch, logits);
            int row = 0;
            for (int s = 0; s < prompts.Length; s++)
            {
                logits.AsSpan(row * model.Vocabulary, step[s] * model.Vocabulary).CopyTo(together[s].AsSpan(sequences[s].Length * model.Vocabulary));
                sequences[s].Advance(step[s]);
                row += step[s];
            }
        }

        for (int s = 0; s < prompts.Length; s++)
        {
            Assert.That(together[s], Is.EqualTo(alone[s]), $"sequence {s}");
            sequences[s].Dispose();
        }

        Assert.That(model.Cache.FreePages, Is.EqualTo(model.Cache.PageCapacity));
    }

    [Test]
    public void Thread_counts_give_the_same_logits([ValueSource(nameof(s_backends))] Backend backend)
    {
        int[] tokens = Golden.Load("tiny-int4").Single(g => g.Name == "long").Tokens;
        using var one = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend, 1);
        using var three = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend, 3);
        Assert.That(three.Logits(tokens, 50), Is.EqualTo(one.Logits(tokens, 50)));
    }

    [Test]
    public void Prefixes_agree_with_the_reference_when_batched([ValueSource(nameof(s_checkpoints))] string checkpoint)
    {
        int[] tokens = Golden.Load(checkpoint).Single(g => g.Name == "chat").Tokens;
        using var reference = new ModelUnderTest(Repository.Checkpoint(checkpoint), Backend.Reference);
        using var exact = new ModelUnderTest(Repository.Checkpoint(checkpoint), Backend.CpuExact);
        Agreement agreement = Agreement.Of(reference.Logits(tokens), exact.Logits(tokens, 13, 1, 20), reference.Vocabulary);
        Assert.That(agreement.MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(1e-5));
    }
}
