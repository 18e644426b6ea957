// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;

namespace KimiCpu.Tests.Model;

/// <summary>Steps of so many new tokens of a sequence that the CPU attends over expanded keys and values.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category("Kernels")]
internal sealed class LongPromptTests
{
    /// <summary>Heads as Kimi K2 has them, over a latent that is wide enough for it to pay; a token has every expert, or a router might choose another one where two are about as good.</summary>
    private const string Small = "nano,hidden=64,layers=2,dense=1,intermediate=96,experts=4,topk=4,moe=32,heads=2,qlora=48,kvlora=256,nope=128,rope=64,v=128,vocab=131";

    private const int Long = PromptAttention.UsualFewestRows;

    [Test]
    public void A_long_step_agrees_with_short_ones()
    {
        using var checkpoint = new SyntheticModel(Small);
        int[] tokens = [.. Enumerable.Range(0, Long + 88).Select(i => (i * 7 % 130) + 1)];
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.CpuFast, threads: 2);
        float[] together = model.Logits(tokens);
        float[] parts = model.Logits(tokens, 100);
        Assert.That(together, Is.Not.EqualTo(parts), "the long step goes its own way");
        Agreement agreement = Agreement.Of(parts, together, model.Vocabulary);
        TestContext.Out.WriteLine(agreement);
        Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999));
    }

    /// <summary>Steps below the threshold keep the bits of one token at a time.</summary>
    [Test]
    public void Shorter_steps_give_the_same_bits_however_they_are_cut()
    {
        using var checkpoint = new SyntheticModel(Small);
        int[] tokens = [.. Enumerable.Range(0, Long - 1).Select(i => (i * 5 % 130) + 1)];
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.CpuFast, threads: 2);
        Assert.That(model.Logits(tokens, 64, 1, 200), Is.EqualTo(model.Logits(tokens)));
    }

    /// <summary>A long prompt between short sequences: each as by itself.</summary>
    [Test]
    public void Each_sequence_of_a_step_goes_its_own_way()
    {
        using var checkpoint = new SyntheticModel(Small);
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.CpuFast, threads: 3);
        int[][] prompts = [[.. Enumerable.Range(1, 3)], [.. Enumerable.Range(0, Long + 9).Select(i => (i * 3 % 130) + 1)], [7], [.. Enumerable.Range(5, 20)]];
        KvSequence[] sequences = [.. prompts.Select(_ => model.Cache.CreateSequence())];
        var batch = new RaggedBatch();
        for (int i = 0; i < prompts.Length; i++)
        {
            Assert.That(sequences[i].TryExtend(prompts[i].Length));
            batch.Add(prompts[i], 0, sequences[i].Pages, LogitsWanted.All);
        }

        var logits = new float[batch.RowCount * model.Vocabulary];
        model.Forward.Run(batch, logits);
        int row = 0;
        foreach (int[] prompt in prompts)
        {
            float[] alone = model.Logits(prompt);
            Assert.That(logits[(row * model.Vocabulary)..((row + prompt.Length) * model.Vocabulary)], Is.EqualTo(alone));
            row += prompt.Length;
        }

        Array.ForEach(sequences, s => s.Dispose());
    }

    [Test]
    public void Exact_results_do_not_depend_on_the_length_of_a_step()
    {
        using var checkpoint = new SyntheticModel(Small);
        int[] tokens = [.. Enumerable.Range(0, Long + 5).Select(i => (i * 11 % 130) + 1)];
        using var model = new ModelUnderTest(checkpoint.Folder, Backend.CpuExact, threads: 2);
        Assert.That(model.Logits(tokens), Is.EqualTo(model.Logits(tokens, 60)));
    }
}
