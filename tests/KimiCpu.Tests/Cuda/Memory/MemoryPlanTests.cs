// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Memory;
using KimiCpu.Cuda.Weights;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cuda.Memory;

/// <summary>What a GPU's memory is for.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class MemoryPlanTests
{
    /// <summary>The cache gets the context that is wanted; what is left is for both, unless a wish says more.</summary>
    [Test]
    public void Memory_that_is_left_over_is_for_experts()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryPlan none = MemoryPlan.Fit(weights, new MemoryWish(80, 512), 16 << 20);
        Assert.That((none.ExpertSlots, none.ExpertBytes), Is.EqualTo((0, 0L)));
        long slot = ExpertSlotLayout.Of(weights)!.Bytes;
        long work = MemoryPlan.ExpertWorkBytes(weights.Shape, 80);
        MemoryPlan small = MemoryPlan.Fit(weights, new MemoryWish(80, 512, SmallWeights: true), 16 << 20);
        Assert.That(small.Weights, Is.EqualTo(WeightPlan.All[^1]));
        Assert.That(small.WeightBytes, Is.LessThan(none.WeightBytes));
        Assert.That(small.CacheTokens, Is.GreaterThan(none.CacheTokens));
        MemoryPlan all = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: null), 32 << 20);
        Assert.That((all.ExpertSlots, all.ExpertBytes), Is.EqualTo((3 * 16, work + (3 * 16 * slot))), "there are no more");
        Assert.That(all.CacheTokens, Is.LessThan(none.CacheTokens * 4).And.GreaterThan(512));
        MemoryPlan some = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (5 * slot)), 32 << 20);
        Assert.That(some.ExpertSlots, Is.EqualTo(5));
        Assert.That(some.ToString(), Does.Contain("5 routed experts"));

        // All but a context: half of what is left, or all of it where the cache's size is given.
        long free = none.FreeBytes - none.CacheBytes;
        MemoryPlan half = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: null), free + (2 << 20));
        MemoryPlan rest = MemoryPlan.Fit(weights, new MemoryWish(80, 512, CacheBytes: none.CacheBytes / 100, ExpertBytes: null), free + (2 << 20));
        Assert.That(half.ExpertSlots, Is.GreaterThan(0).And.LessThan(rest.ExpertSlots));

        // A ring for streamed experts comes first; without room for it things are as they were.
        MemoryPlan ring = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (5 * slot), StreamExperts: true), 32 << 20);
        Assert.That((ring.ExpertSlots, ring.RingSlots, ring.RingBytes, ring.ExpertBytes), Is.EqualTo((2, 3, 3 * slot, work + (2 * slot))));
        Assert.That(ring.ToString(), Does.Contain("2 routed experts (").And.Contain("ring for 3 streamed ones ("));
        MemoryPlan alone = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (3 * slot), StreamExperts: true), 32 << 20);
        Assert.That((alone.ExpertSlots, alone.RingSlots, alone.ExpertBytes), Is.EqualTo((0, 3, work)));
        MemoryPlan narrow = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: work + (3 * slot) - 1, StreamExperts: true), 32 << 20);
        Assert.That((narrow.ExpertSlots, narrow.RingSlots, narrow.RingBytes), Is.EqualTo((2, 0, 0L)));
        MemoryPlan nothing = MemoryPlan.Fit(weights, new MemoryWish(80, 512, ExpertBytes: 0, StreamExperts: true), 32 << 20);
        Assert.That((nothing.ExpertBytes, nothing.RingSlots), Is.EqualTo((0L, 0)));
        foreach (MemoryPlan plan in new[] { none, all, some, half, rest, ring, alone, narrow })
        {
            Assert.That(plan.WeightBytes + plan.WorkspaceBytes + plan.CacheBytes + plan.ExpertBytes + plan.RingBytes, Is.LessThanOrEqualTo(plan.FreeBytes));
        }

        // Passes become larger where that takes no more than a quarter of what is to spare, and nothing from weights, context or a cache of a given size.
        MemoryWish many = new(80, 512, ExpertBytes: null, StreamExperts: true, ManyRows: 640);
        MemoryPlan roomy = MemoryPlan.Fit(weights, many, 64 << 20);
        MemoryPlan tight = MemoryPlan.Fit(weights, many, free + (2 << 20));
        MemoryPlan full = MemoryPlan.Fit(weights, many with { CacheBytes = roomy.CacheBytes }, 64 << 20);
        TestContext.Out.WriteLine($"{roomy.MaxRows}: {roomy}\n{tight.MaxRows}: {tight}");
        Assert.That((roomy.MaxRows, tight.MaxRows, tight.RingSlots, full.CacheBytes), Is.EqualTo((640, 80, 3, roomy.CacheBytes)));
        Assert.That(tight.CacheTokens, Is.GreaterThanOrEqualTo(512));
        Assert.That(MemoryPlan.Fit(weights, many with { StreamExperts = false }, 64 << 20).MaxRows, Is.EqualTo(80));

        // BF16 experts stay on the CPU.
        using Checkpoint other = Checkpoint.Open(Repository.Checkpoint("tiny-qproj"));
        Assert.That(MemoryPlan.Fit(WeightLoader.Load(other), new MemoryWish(80, 512, ExpertBytes: null), 32 << 20).ExpertSlots, Is.Zero);
    }

    /// <summary>A limit that the cache does not reach takes nothing from experts or passes; the lower it is below that, the more they get.</summary>
    [Test]
    public void More_bytes_than_the_cache_would_have_are_no_limit([Values(null, 1L << 20)] long? expertBytes)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryWish many = new(80, 512, ExpertBytes: expertBytes, StreamExperts: true, ManyRows: 640);
        MemoryPlan none = MemoryPlan.Fit(weights, many, 64 << 20);
        Assert.That((none.MaxRows, none.RingSlots), Is.EqualTo((640, 3)));
        foreach (long limit in new[] { 1L << 40, 64 << 20, none.CacheBytes })
        {
            Assert.That(MemoryPlan.Fit(weights, many with { CacheBytes = limit }, 64 << 20), Is.EqualTo(none), $"{limit:N0} bytes");
        }

        MemoryPlan cacheAlone = MemoryPlan.Fit(weights, new MemoryWish(80, 512), 16 << 20);
        long free = cacheAlone.FreeBytes - cacheAlone.CacheBytes + (2 << 20);
        MemoryPlan tight = MemoryPlan.Fit(weights, many, free);
        MemoryPlan limited = MemoryPlan.Fit(weights, many with { CacheBytes = tight.CacheBytes * 3 / 4 }, free);
        Assert.That(limited.CacheBytes, Is.LessThanOrEqualTo(tight.CacheBytes * 3 / 4));
        Assert.That(limited.ExpertBytes + limited.RingBytes, expertBytes is null ? Is.GreaterThan(tight.ExpertBytes + tight.RingBytes) : Is.EqualTo(tight.ExpertBytes + tight.RingBytes));
    }

    /// <summary>A pass reads most experts in main memory, however few tokens it has. Which of both numbers counts depends on who has the experts.</summary>
    [TestCase("tiny-fp8", null)]
    [TestCase("tiny-int4", 0L)]
    public void Passes_become_larger_where_the_CPU_computes_all_experts(string model, long? expertBytes)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(model));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryWish wish = new(80, 512, ExpertBytes: expertBytes, StreamExperts: true, ManyRows: 640, ReadRows: 320);
        MemoryPlan roomy = MemoryPlan.Fit(weights, wish, 64 << 20);
        Assert.That((roomy.MaxRows, roomy.RingSlots), Is.EqualTo((320, 0)));
        MemoryPlan usual = MemoryPlan.Fit(weights, wish with { ReadRows = 80 }, 64 << 20);
        long needed = usual.FreeBytes - usual.CacheBytes + (1 << 20);
        MemoryPlan tight = MemoryPlan.Fit(weights, wish, needed);
        Assert.That((tight.MaxRows, tight.Weights), Is.EqualTo((80, MemoryPlan.Fit(weights, wish with { ReadRows = 80 }, needed).Weights)), "neither weights nor context give way");
        if (expertBytes is not null)
        {
            Assert.That(MemoryPlan.Fit(weights, wish with { ExpertBytes = null }, 64 << 20).MaxRows, Is.EqualTo(640), "where experts pass through");
            Assert.That(MemoryPlan.Fit(weights, wish with { ExpertBytes = null, StreamExperts = false }, 64 << 20).MaxRows, Is.EqualTo(320), "where page-locked memory is refused");
        }
    }
}
