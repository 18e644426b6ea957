// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Model;
using KimiCpu.Tests.Cpu;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole small models whose prompts attend over expanded keys and values: which do, that they agree, and what they do not depend on.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class ExpandedPromptTests
{
    /// <summary>Heads as Kimi K2 has them, two of them, over a small latent; a token has every expert, or a router might choose another one where two are about as good.</summary>
    private const string Small = "nano,hidden=64,layers=2,dense=1,intermediate=96,experts=4,topk=4,moe=32,heads=2,qlora=48,kvlora=64,nope=128,rope=64,v=128,vocab=131";

    /// <summary>Attention with sizes of Kimi K2, half of its heads.</summary>
    private const string Wide = "nano,hidden=64,layers=1,dense=1,intermediate=96,experts=4,topk=1,moe=32,heads=32,qlora=48,kvlora=512,nope=128,rope=64,v=128,vocab=131";

    /// <summary>Fewest tokens of a sequence here.</summary>
    private const int Fewest = 34;

    [TestCase(64, 512, 171, TestName = "Kimi K2 expands from 171 tokens on")]
    [TestCase(128, 512, 171, TestName = "DeepSeek-V3 too: heads do not count")]
    [TestCase(2, 128, int.MaxValue, TestName = "A latent as wide as a head's key and value never pays")]
    [TestCase(2, 4096, 133, TestName = "A wide latent pays from half the key and value on")]
    public void Operations_say_when_it_pays(int heads, int latent, int expected)
    {
        ModelShape shape = Shapes.Small() with { HeadCount = heads, KeyValueLoraRank = latent, NopeHeadSize = 128, RopeHeadSize = 64, ValueHeadSize = 128 };
        int rows = ExpandedAttention.FewestRows(shape);
        Assert.That(rows, Is.EqualTo(expected));
        long Absorbed(long n) => n * ((2 * latent) + 64);
        long Expanded(long n) => (n * (128 + 64 + 128)) + (256L * latent);
        Assert.That(Expanded(expected), expected == int.MaxValue ? Is.GreaterThan(Absorbed(expected)) : Is.LessThanOrEqualTo(Absorbed(expected)));
        Assert.That(Expanded(expected - 1), Is.GreaterThan(Absorbed(expected - 1)));
    }

    /// <summary>As the CPU's reference, in one step or in parts and whatever the blocks of the past; parts of fewer tokens as without it.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Prompts_agree_with_the_reference_however_they_are_cut()
    {
        using var checkpoint = new SyntheticModel(Small);
        int[] tokens = [.. Enumerable.Range(1, 78)];
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using var driver = new GpuUnderTest(256 << 20);
        float[] logits;
        float[] absorbed;
        using (var model = new GpuModel(driver, checkpoint.Folder, expandedRows: Fewest, expandedTokens: 64))
        {
            logits = model.Logits(tokens);
            Assert.That(model.HotPath.EfficientRows, Is.EqualTo(Fewest));

            // Two layers, two blocks of 64 tokens.
            Assert.That(driver.Launches("mla_expanded_bf16"), Is.Null.Or.EqualTo(4));
            Assert.That(driver.Launches("mla_any_bf16"), Is.Null.Or.Zero);
            Assert.That(model.Logits(tokens, 39), Is.EqualTo(logits));
            Assert.That(model.Logits(tokens, 44), Is.EqualTo(logits));
            int? before = driver.Launches("mla_expanded_bf16");
            absorbed = model.Logits(tokens, Fewest - 1);
            Assert.That(driver.Launches("mla_expanded_bf16"), Is.EqualTo(before));
            Agreement agreement = Agreement.Of(reference.Logits(tokens), logits, model.Vocabulary);
            TestContext.Out.WriteLine(agreement);
            Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.999));
            Assert.That(Agreement.Of(absorbed, logits, model.Vocabulary).MinCosine, Is.GreaterThanOrEqualTo(0.999));
        }

        using (var model = new GpuModel(driver, checkpoint.Folder, expandedRows: Fewest))
        {
            Assert.That(model.Logits(tokens), Is.EqualTo(logits), "one block");
        }

        using (var model = new GpuModel(driver, checkpoint.Folder))
        {
            Assert.That(model.Plan.ExpandedTokens, Is.Zero, "80 rows are fewer than it pays for");
            Assert.That(model.HotPath.EfficientRows, Is.EqualTo(1));
            Assert.That(model.Logits(tokens, Fewest - 1), Is.EqualTo(absorbed));
        }
    }

    /// <summary>Two long prompts with short ones before, between and behind them: each its own way, the long ones to the bit as by themselves.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Each_sequence_of_a_step_goes_its_own_way()
    {
        using var checkpoint = new SyntheticModel(Wide);
        int[][] prompts = [[5, 6], [.. Enumerable.Range(1, 34)], [7, 8, 9], [.. Enumerable.Range(40, 36)], [1, 2, 3, 4]];
        using var driver = new GpuUnderTest(256 << 20);
        float[] absorbed;
        using (var model = new GpuModel(driver, checkpoint.Folder, expandedTokens: 0, expandedRows: Fewest))
        {
            absorbed = Together(model, prompts);
            Assert.That(driver.Launches("mla_expanded_bf16"), Is.Null.Or.Zero);
            Assert.That(driver.Launches("mla_rows_512_bf16"), Is.Null.Or.EqualTo(1));
        }

        using (var model = new GpuModel(driver, checkpoint.Folder, expandedTokens: 64, expandedRows: Fewest))
        {
            float[] together = Together(model, prompts);
            Assert.That(driver.Launches("mla_expanded_bf16"), Is.Null.Or.EqualTo(2));
            Assert.That(driver.Launches("mla_rows_512_bf16"), Is.Null.Or.EqualTo(1 + 3));
            int at = 0;
            foreach (int[] prompt in prompts)
            {
                float[] part = together[at..(at += prompt.Length * model.Vocabulary)];
                float[] other = absorbed[(at - part.Length)..at];
                if (prompt.Length >= Fewest)
                {
                    Assert.That(part, Is.EqualTo(model.Logits(prompt)));
                    Assert.That(part, Is.Not.EqualTo(other));
                    Assert.That(Agreement.Of(other, part, model.Vocabulary).MinCosine, Is.GreaterThanOrEqualTo(0.999));
                }
                else
                {
                    Assert.That(part, Is.EqualTo(other));
                }
            }
        }
    }

    /// <summary>Latents in 8 bits are expanded too; their keys lie elsewhere on a page.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_cache_in_8_bits_is_expanded_too()
    {
        const int LongContext = 280_000;
        using var checkpoint = new SyntheticModel(Wide);
        int[] prompt = [.. Enumerable.Range(1, 70)];
        using var driver = new GpuUnderTest(256 << 20);
        float[] absorbed;
        using (var model = new GpuModel(driver, checkpoint.Folder, contextTokens: LongContext, smallCache: true, expandedTokens: 0))
        {
            Assert.That(model.Plan.CacheFormat, Is.EqualTo(CacheFormat.Int8));
            absorbed = model.Logits(prompt);
            Assert.That(driver.Launches("mla_rows_512_int8"), Is.Null.Or.EqualTo(1));
        }

        using (var model = new GpuModel(driver, checkpoint.Folder, contextTokens: LongContext, smallCache: true, expandedTokens: 64, expandedRows: Fewest))
        {
            Assert.That((model.Plan.CacheFormat, model.Plan.ExpandedTokens), Is.EqualTo((CacheFormat.Int8, 64)));
            float[] expanded = model.Logits(prompt);
            Assert.That(driver.Launches("mla_expanded_int8"), Is.Null.Or.EqualTo(2));
            Assert.That(expanded, Is.Not.EqualTo(absorbed));
            Assert.That(Agreement.Of(absorbed, expanded, model.Vocabulary).MinCosine, Is.GreaterThanOrEqualTo(0.999));
        }
    }

    /// <summary>Neither weights nor context give way; where memory is scarce latents are attended to as they are.</summary>
    [Test]
    public void Without_memory_for_it_prompts_attend_as_before()
    {
        using var checkpoint = new SyntheticModel(Small);
        using Checkpoint opened = Checkpoint.Open(checkpoint.Folder);
        ModelWeights weights = WeightLoader.Load(opened);
        var wish = new MemoryWish(80, 512, ExpandedTokens: 256, ExpandedRows: Fewest);
        MemoryPlan roomy = MemoryPlan.Fit(weights, wish, 64 << 20);
        MemoryPlan none = MemoryPlan.Fit(weights, wish with { ExpandedTokens = 0 }, 64 << 20);
        Assert.That((roomy.ExpandedTokens, roomy.ExpandedRows, none.ExpandedTokens), Is.EqualTo((256, Fewest, 0)));

        // Latents of 64 values, 2 heads of 256, and what 80 rows carry.
        Assert.That(roomy.WorkspaceBytes - none.WorkspaceBytes, Is.EqualTo((256 * 64 * 2) + (256 * 2 * 256 * 2) + (80 * 2 * 2 * 4)));
        Assert.That(MemoryPlan.Fit(weights, wish with { MaxRows = Fewest - 1 }, 64 << 20).ExpandedTokens, Is.Zero, "no step has so many rows");
        Assert.That(MemoryPlan.Fit(weights, wish with { ExpandedTokens = 1 << 20 }, 1L << 40).ExpandedTokens, Is.EqualTo((weights.Shape.MaxPositions + 63) / 64 * 64), "no sequence has more");

        // Exactly the wanted context beside it; and a page less.
        long page = DevicePages.BytesOfPage(weights.Shape, CacheFormat.BFloat16) + (80 * sizeof(uint));
        long enough = ((none.WeightBytes + roomy.WorkspaceBytes + (8 * page)) * 40 / 39) + 2;
        MemoryPlan exact = MemoryPlan.Fit(weights, wish, enough);
        MemoryPlan scarce = MemoryPlan.Fit(weights, wish, enough - 40);
        Assert.That((exact.ExpandedTokens, exact.CacheTokens, exact.Weights), Is.EqualTo((256, 512L, none.Weights)));
        Assert.That((scarce.ExpandedTokens, scarce.Weights), Is.EqualTo((0, none.Weights)));
        Assert.That(scarce.CacheTokens, Is.GreaterThan(512));
        Assert.That(MemoryPlan.Fit(weights, wish with { CacheBytes = page }, enough - 40).ExpandedTokens, Is.EqualTo(256), "a cache of a page");

        using var driver = new SimulatedDriver { TotalBytes = scarce.FreeBytes };
        using var model = new GpuModel(driver, checkpoint.Folder, expandedRows: Fewest, expandedTokens: 256);
        Assert.That(model.Plan.ExpandedTokens, Is.Zero);
        Assert.That(model.Logits([.. Enumerable.Range(1, 40)]), Has.None.NaN);
        Assert.That(driver.LaunchesOf.Keys, Has.None.EqualTo("mla_expanded_bf16"));
    }

    private static float[] Together(GpuModel model, int[][] prompts)
    {
        KvSequence[] sequences = [.. prompts.Select(_ => model.Cache.CreateSequence())];
        var batch = new RaggedBatch();
        for (int i = 0; i < prompts.Length; i++)
        {
            Assert.That(sequences[i].TryExtend(prompts[i].Length));
            batch.Add(prompts[i], 0, sequences[i].Pages, LogitsWanted.All);
        }

        var logits = new float[batch.RowCount * model.Vocabulary];
        new ForwardPass(model.Weights, model.HotPath, model.Experts).Run(batch, logits);
        Array.ForEach(sequences, s => s.Dispose());
        return logits;
    }
}
