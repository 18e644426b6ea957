// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;

namespace KimiCpu.Tests.Model;

[TestFixture]
[Parallelizable(ParallelScope.All)]
[Category(GpuUnderTest.Category)]
internal sealed class KvCacheTests
{
    private static readonly Backend[] s_backends = [Backend.Reference, Backend.CpuFast, Backend.Gpu];

    [Test]
    public void Pages_are_taken_on_demand_and_come_back([ValueSource(nameof(s_backends))] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend, threads: 1);
        var cache = new KvCache(model.HotPath, 3 * model.HotPath.BytesPerPage, 1000);
        Assert.That(cache.PageCapacity, Is.EqualTo(3));
        KvSequence first = cache.CreateSequence();
        Assert.That(first.TryExtend(KvPage.Tokens));
        Assert.That(cache.FreePages, Is.EqualTo(2));
        first.Advance(KvPage.Tokens);
        Assert.That(first.TryExtend(1));
        Assert.That(cache.FreePages, Is.EqualTo(1));

        KvSequence second = cache.CreateSequence();
        Assert.That(second.TryExtend(KvPage.Tokens + 1), Is.False, "two pages, one left");
        Assert.That(cache.FreePages, Is.EqualTo(1), "a refusal takes nothing");
        first.Dispose();
        first.Dispose();
        Assert.That(cache.FreePages, Is.EqualTo(3));
        Assert.That(second.TryExtend(3 * KvPage.Tokens));
        Assert.That(second.Pages.ToArray(), Is.Unique);
    }

    [Test]
    public void A_sequence_longer_than_the_context_is_refused_with_numbers([ValueSource(nameof(s_backends))] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend, threads: 1);
        var cache = new KvCache(model.HotPath, 1 << 30, 100);
        using KvSequence sequence = cache.CreateSequence();
        Assert.That(sequence.TryExtend(100));
        sequence.Advance(100);
        Assert.That(() => sequence.TryExtend(1), Throws.TypeOf<ContextLengthException>().With.Message.Contains("100 tokens"));
    }

    [Test]
    public void A_batch_refuses_pages_that_are_too_few()
    {
        var batch = new RaggedBatch();
        Assert.That(() => batch.Add(new int[65], 0, new int[] { 0 }, LogitsWanted.None), Throws.ArgumentException);
    }

    [Test]
    public void Tokens_outside_the_vocabulary_are_refused([ValueSource(nameof(s_backends))] Backend backend)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), backend, threads: 1);
        Assert.That(() => model.Logits([1, 512]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => model.Logits([-1]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }
}
