// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cli.Bench.Gpu;
using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Cuda.Kernels;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;
using KimiCpu.Model;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole tiny models with a cache in 8 bits, and when a plan has one.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class SmallCacheTests
{
    /// <summary>More than any GPU holds.</summary>
    private const int LongContext = 1 << 30;

    /// <summary>
    /// Against weights and latents in single precision. Rounding to 8 bits costs a latent a 254th of the largest of its 128 values at most, where BF16 costs
    /// a 512th of each. Weights in 8 bits, which come with it, cost more. Models in which that chooses other experts are left out.
    /// </summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Logits_agree_with_the_goldens([Values("tiny-steady", "tiny-qproj")] string checkpoint)
    {
        using var driver = new GpuUnderTest();
        Golden[] goldens = [.. Golden.Load(checkpoint).Where(g => g.Tokens.Length <= 40).Take(2)];
        float[][] withLargeCache;
        using (var other = new GpuModel(driver, Repository.Checkpoint(checkpoint), smallWeights: true))
        {
            Assert.That((other.Plan.CacheFormat, other.Plan.Weights), Is.EqualTo((CacheFormat.BFloat16, WeightPlan.All[^1])));
            withLargeCache = [.. goldens.Select(g => other.Logits(g.Tokens))];
        }

        using var model = new GpuModel(driver, Repository.Checkpoint(checkpoint), contextTokens: LongContext, smallCache: true);
        foreach ((Golden golden, float[] large) in goldens.Zip(withLargeCache))
        {
            float[] all = model.Logits(golden.Tokens);
            float[] logits = [.. golden.LogitPositions.SelectMany(p => all.AsSpan(p * model.Vocabulary, model.Vocabulary).ToArray())];
            Agreement agreement = Agreement.Of(golden.Logits, logits, model.Vocabulary);
            TestContext.Out.WriteLine($"{checkpoint} {golden.Name}: {agreement}");
            Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.998), golden.Name);
            Agreement ofCache = Agreement.Of(large, all, model.Vocabulary);
            TestContext.Out.WriteLine($"the cache alone: {ofCache}");
            Assert.That(ofCache.MinCosine, Is.GreaterThanOrEqualTo(0.998), $"{golden.Name}, with the same weights and a BF16 cache");
        }
    }

    /// <summary>
    /// Kimi K2's latent and heads in a small model: prompts on the tensor cores, with the same bits however they are cut. A token has every expert, or a router might choose
    /// another one where two are about as good.
    /// </summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Prompts_and_few_rows_agree_with_the_reference_and_do_not_depend_on_their_parts()
    {
        using var checkpoint = new SyntheticModel(CudaHotPathTests.OfTensorCores.Replace("topk=1", "topk=4", StringComparison.Ordinal));
        int[] tokens = [.. Enumerable.Range(1, 75)];
        using var reference = new ModelUnderTest(checkpoint.Folder, Backend.Reference);
        using var driver = new GpuUnderTest(256 << 20);
        using var model = new GpuModel(driver, checkpoint.Folder, contextTokens: LongContext, smallCache: true);
        Assert.That((model.Plan.CacheFormat, model.Plan.Weights), Is.EqualTo((CacheFormat.Int8, WeightPlan.All[^1])));
        float[] many = model.Logits(tokens, 38);
        Assert.That(model.Logits(tokens), Is.EqualTo(many));
        Assert.That(driver.Launches("mla_rows_512_int8"), Is.Null.Or.EqualTo(4 + 2));
        float[] few = model.Logits(tokens[..30], 5);
        Assert.That(model.Logits(tokens[..30], 7), Is.EqualTo(few));
        Assert.That(driver.Launches("mla_512_int8"), Is.Null.Or.Positive);
        Assert.That(driver.Launches("mla_512_bf16") + driver.Launches("mla_rows_512_bf16") + driver.Launches("rope_store_bf16"), Is.Null.Or.Zero);
        float[] exact = reference.Logits(tokens);
        foreach ((float[] logits, string what) in new[] { (many, "many rows"), (few, "few rows") })
        {
            Agreement agreement = Agreement.Of(exact.AsSpan(0, logits.Length), logits, model.Vocabulary);
            TestContext.Out.WriteLine($"{what}: {agreement}");
            Assert.That(agreement.MinCosine, Is.GreaterThanOrEqualTo(0.998), what);
        }
    }

    /// <summary>Several sequences in a step, of other lengths, over page borders: each has the bits that it has alone.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_sequence_does_not_depend_on_the_others_of_its_step()
    {
        int[][] texts = [[.. Enumerable.Range(3, 66)], [.. Enumerable.Range(90, 5)], [.. Enumerable.Range(40, 64)]];
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-steady"), contextTokens: LongContext, smallCache: true);
        float[][] alone = [.. texts.Select(t => model.Logits([.. t, 7], 11)[^model.Vocabulary..])];
        KvSequence[] sequences = [.. texts.Select(_ => model.Cache.CreateSequence())];
        foreach ((KvSequence sequence, int[] text) in sequences.Zip(texts))
        {
            foreach (int[] part in text.Chunk(11))
            {
                model.Step(sequence, part);
            }
        }

        var batch = new RaggedBatch();
        foreach (KvSequence sequence in sequences)
        {
            Assert.That(sequence.TryExtend(1));
            batch.Add([7], sequence.Length, sequence.Pages, LogitsWanted.Last);
        }

        var together = new float[texts.Length * model.Vocabulary];
        new ForwardPass(model.Weights, model.HotPath, model.Experts).Run(batch, together);
        Assert.That(together, Is.EqualTo(alone.SelectMany(l => l)));
        foreach (KvSequence sequence in sequences)
        {
            sequence.Dispose();
        }
    }

    /// <summary>Parts of pages and whole ones, whose parts lie elsewhere.</summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void Pages_are_read_written_and_copied()
    {
        using var driver = new GpuUnderTest();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"), contextTokens: LongContext, smallCache: true);
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [.. Enumerable.Range(1, 70)]);

        // Two layers: 64 bytes of latent, a factor of two bytes, and 16 values of a key.
        Assert.That(model.HotPath.BytesPerPage, Is.EqualTo(2 * 64 * (64 + 2 + 32)));
        byte[] whole = Read(sequence.Pages.Span[0], 64);
        byte[] part = Read(sequence.Pages.Span[0], 6);
        for (int layer = 0; layer < 2; layer++)
        {
            int inWhole = layer * 64 * 98;
            int inPart = layer * 6 * 98;
            foreach (int bytes in new[] { 64, 32, 2 })
            {
                Assert.That(part.AsSpan(inPart, 6 * bytes).ToArray(), Is.EqualTo(whole.AsSpan(inWhole, 6 * bytes).ToArray()), $"layer {layer}");
                (inWhole, inPart) = (inWhole + (64 * bytes), inPart + (6 * bytes));
            }
        }

        model.HotPath.WritePage(7, 64, whole);
        Assert.That(Read(7, 64), Is.EqualTo(whole));
        model.HotPath.CopyPage(7, 8);
        Assert.That(Read(8, 64), Is.EqualTo(whole));
        model.HotPath.WritePage(8, 6, Read(sequence.Pages.Span[1], 6));
        Assert.That(Read(8, 6), Is.EqualTo(Read(sequence.Pages.Span[1], 6)));
        Assert.That(Read(8, 64).AsSpan(6 * 64, 58 * 64).ToArray(), Is.EqualTo(whole.AsSpan(6 * 64, 58 * 64).ToArray()), "the latents behind");
        Assert.That(() => model.HotPath.ReadPage(8, 6, new byte[6 * 2 * 160]), Throws.InstanceOf<ArgumentException>());

        byte[] Read(int page, int tokens)
        {
            var bytes = new byte[tokens * model.HotPath.BytesPerPage / 64];
            model.HotPath.ReadPage(page, tokens, bytes);
            return bytes;
        }
    }

    /// <summary>Kimi K2 on cards of 24 and 16 GB: gpu memory less what the driver takes.</summary>
    [TestCase(32, 22.5, false, false)]
    [TestCase(128, 22.5, true, false)]
    [TestCase(160, 22.5, true, false)]
    [TestCase(256, 22.5, true, true)]
    [TestCase(32, 14.8, true, false)]
    [TestCase(96, 14.8, true, true)]
    public void The_cache_is_reduced_last_and_only_for_a_context_that_was_asked_for(int context, double gibibytes, bool small, bool smallCache)
    {
        ModelWeights weights = GpuStepWeights.Of(GpuBenchSizes.KimiK2, 61);
        long free = (long)(gibibytes * (1L << 30));
        var wish = new MemoryWish(256 + 64, context * 1024);
        MemoryPlan plan = MemoryPlan.Fit(weights, wish with { SmallCache = true }, free);
        TestContext.Out.WriteLine(plan);
        Assert.That((plan.Weights == WeightPlan.All[^1], plan.CacheFormat == CacheFormat.Int8), Is.EqualTo((small, smallCache)));
        Assert.That(plan.CacheTokens, Is.GreaterThanOrEqualTo(context * 1024));
        Assert.That(plan.CacheBytes, Is.EqualTo(plan.CacheTokens * (smallCache ? 39_528 : 70_272)));
        Assert.That(plan.WeightBytes + plan.WorkspaceBytes + plan.CacheBytes, Is.LessThanOrEqualTo(free));
        Assert.That(plan.ToString(), Does.Contain(smallCache ? ", 8-bit cache of" : ", BF16 cache of"));

        // Where nobody asked for it the last plan has the context that fits, as ever.
        MemoryPlan without = MemoryPlan.Fit(weights, wish, free);
        Assert.That(without.CacheFormat, Is.EqualTo(CacheFormat.BFloat16));
        Assert.That(without.CacheTokens >= context * 1024, Is.EqualTo(!smallCache));
        if (!smallCache)
        {
            Assert.That(without, Is.EqualTo(plan));
        }
    }

    /// <summary>Kimi K2 on cards of 24 and 80 GB where the bytes of the cache are given: weights give way for these bytes and no more, and the cache's format where they would not hold the context.</summary>
    [TestCase(128, 2.0, 22.5, 0, true, TestName = "A limit below the context in either format: latents in 8 bits, weights as stored")]
    [TestCase(128, 6.0, 22.5, 2, true, TestName = "A limit that holds the context in 8 bits only: weights give way as far as these bytes need")]
    [TestCase(256, 10.0, 75.0, 0, true, TestName = "The same with memory to spare")]
    [TestCase(128, 9.0, 22.5, 3, false, TestName = "A limit that holds the context in BF16")]
    [TestCase(256, 40.0, 22.5, 3, true, TestName = "A limit beyond all memory, and a context that fits in 8 bits")]
    [TestCase(null, 1.0, 22.5, 0, false, TestName = "A limit alone reduces nothing")]
    [TestCase(null, 10.0, 22.9, 0, false, TestName = "Nor does one that is more than what is left")]
    [TestCase(null, 1.0, 21.5, 0, false, TestName = "Less than the usual context spares weights")]
    public void Bytes_of_the_cache_count_when_formats_are_chosen(int? context, double cacheGibibytes, double gibibytes, int reductions, bool smallCache)
    {
        ModelWeights weights = GpuStepWeights.Of(GpuBenchSizes.KimiK2, 61);
        (long free, long limit) = ((long)(gibibytes * (1L << 30)), (long)(cacheGibibytes * (1L << 30)));
        var wish = new MemoryWish(256 + 64, (context ?? 32) * 1024, SmallCache: context is not null, CacheBytes: limit);
        MemoryPlan plan = MemoryPlan.Fit(weights, wish, free);
        TestContext.Out.WriteLine(plan);
        Assert.That((plan.Weights, plan.CacheFormat), Is.EqualTo((WeightPlan.All[reductions], smallCache ? CacheFormat.Int8 : CacheFormat.BFloat16)));
        Assert.That(plan.CacheBytes, Is.LessThanOrEqualTo(limit));
        Assert.That(plan.WeightBytes + plan.WorkspaceBytes + plan.CacheBytes, Is.LessThanOrEqualTo(free));

        // The limit is used up, or the memory is.
        long page = plan.CacheBytes / plan.Pages;
        long left = free - (free / 40) - plan.WeightBytes - plan.WorkspaceBytes;
        Assert.That(plan.CacheBytes, Is.GreaterThan(Math.Min(limit, left * 0.999) - (2 * page)), "less the tables of the pages");
        if (reductions > 0)
        {
            long before = new DeviceWeights(weights, WeightPlan.All[reductions - 1]).Bytes;
            long needed = Math.Min(limit, (context ?? 32) * 1024L * (smallCache && reductions < 3 ? 39_528 : 70_272));
            Assert.That(free - (free / 40) - before - plan.WorkspaceBytes, Is.LessThan(needed), "less reduced weights would not leave enough");
        }
    }

    /// <summary>Experts and larger steps get what such a cache leaves over, and only that.</summary>
    [Test]
    public void What_a_small_cache_leaves_over_is_for_experts_and_larger_steps()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryPlan bare = MemoryPlan.Fit(weights, new MemoryWish(80, 100_000, SmallCache: true), 60 << 20);
        Assert.That((bare.CacheFormat, bare.CacheTokens >= 100_000), Is.EqualTo((CacheFormat.Int8, true)));
        var wish = new MemoryWish(80, 100_000, SmallCache: true, ExpertBytes: null, StreamExperts: true, ManyRows: 640);
        MemoryPlan plan = MemoryPlan.Fit(weights, wish, 60 << 20);
        MemoryPlan limited = MemoryPlan.Fit(weights, wish with { CacheBytes = 1 << 20 }, 60 << 20);
        foreach (MemoryPlan p in new[] { plan, limited })
        {
            TestContext.Out.WriteLine(p);
            Assert.That((p.CacheFormat, p.Weights, p.RingSlots), Is.EqualTo((CacheFormat.Int8, WeightPlan.All[p == plan ? ^1 : 0], 3)));
            Assert.That(p.WeightBytes + p.WorkspaceBytes + p.CacheBytes + p.ExpertBytes + p.RingBytes, Is.LessThanOrEqualTo(p.FreeBytes));
        }

        Assert.That(plan.CacheTokens, Is.InRange(100_000, bare.CacheTokens));
        Assert.That(limited.CacheBytes, Is.InRange((1 << 20) - (64 * 392), 1 << 20));
        Assert.That(() => MemoryPlan.Fit(weights, wish, 2 << 20), Throws.TypeOf<CudaException>().With.Message.Contains("all weights in 8 bits, 8-bit cache: weights"));
    }
}
