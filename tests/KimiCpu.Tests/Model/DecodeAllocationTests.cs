// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Model;

[TestFixture]
internal sealed class DecodeAllocationTests
{
    private const int Rounds = 4;

    /// <summary>One of them begins a page.</summary>
    private const int StepsOfRound = KvPage.Tokens;

    private const long MostBytesOfRead = 1500;

    /// <summary>
    /// A worker that first meets some work late makes its scratch memory then, which is in one round at most.
    /// </summary>
    [Test]
    [Category(GpuUnderTest.Category)]
    public void A_decoded_token_allocates_nothing([Values(Backend.CpuFast, Backend.CpuInt8, Backend.Gpu)] Backend backend, [Values(1, 2)] int threads, [Values] bool lookAhead) =>
        AllocatesNothing(backend, threads, lookAhead, context: 0);

    /// <summary>Behind a prompt that is longer than a segment.</summary>
    [Test]
    public void A_token_whose_context_is_cut_allocates_nothing([Values(Backend.CpuFast, Backend.CpuInt8)] Backend backend, [Values(2, 3)] int threads) =>
        AllocatesNothing(backend, threads, lookAhead: false, context: (9 * KvPage.Tokens) + 1);

    [Test]
    public void A_token_whose_experts_are_all_in_slots_allocates_nothing([Values(1, 2)] int threads, [Values] bool lookAhead) =>
        AllocatesNothing(Backend.CpuFast, threads, lookAhead, context: 0, slotBytes: long.MaxValue);

    /// <summary>A read is an object, and so are the lists of what it consists of.</summary>
    [Test]
    public void An_expert_that_is_read_costs_little_garbage()
    {
        var options = new TieredStoreOptions { Bytes = SlotBytes(), LookAhead = false };
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, threads: 1, slotBytes: options.Bytes, store: options);
        var logits = new float[model.Vocabulary];
        using KvSequence sequence = model.Cache.CreateSequence();
        var rounds = new List<long>();
        for (int round = 0; round < Rounds; round++)
        {
            long misses = model.Store.Counters.Misses;
            long bytes = 0;
            for (int i = 0; i < StepsOfRound; i++)
            {
                Assert.That(sequence.TryExtend(1));
                var batch = new RaggedBatch();
                batch.Add([7 + i], sequence.Length, sequence.Pages, LogitsWanted.Last);
                long before = GC.GetAllocatedBytesForCurrentThread();
                model.Forward.Run(batch, logits);
                bytes += GC.GetAllocatedBytesForCurrentThread() - before;
                sequence.Advance(1);
            }

            misses = model.Store.Counters.Misses - misses;
            Assert.That(misses, Is.GreaterThanOrEqualTo(StepsOfRound));
            rounds.Add(bytes / misses);
        }

        Assert.That(rounds.Min(), Is.LessThanOrEqualTo(MostBytesOfRead), string.Join(", ", rounds));
    }

    private static long SlotBytes()
    {
        using var model = new ModelUnderTest(Repository.NanoModel, Backend.CpuFast, threads: 1, slotBytes: long.MaxValue);
        return model.Store.SlotBytes;
    }

    private static void AllocatesNothing(Backend backend, int threads, bool lookAhead, int context, long? slotBytes = null)
    {
        using SyntheticModel? small = backend == Backend.Gpu ? new SyntheticModel() : null;
        using var model = new ModelUnderTest(small?.Folder ?? Repository.Checkpoint("tiny-k25"), backend, threads, lookAhead: lookAhead, slotBytes: slotBytes);
        if (slotBytes is not null)
        {
            model.Store.Fill(_ => false, progress: null);
        }

        using KvSequence sequence = model.Cache.CreateSequence();
        var logits = new float[model.Vocabulary];
        var allocated = new long[threads];
        int inside = 0;

        // Each worker reads its own count: an item ends only when every worker has one.
        var read = new PoolAction((begin, end, worker) =>
        {
            allocated[worker] = GC.GetAllocatedBytesForCurrentThread();
            Interlocked.Increment(ref inside);
            while (Volatile.Read(ref inside) < threads)
            {
                Thread.Yield();
            }
        });
        if (context > 0)
        {
            Prefill();
        }

        for (int i = 0; i < StepsOfRound; i++)
        {
            Step();
        }

        var rounds = new List<long>();
        for (int round = 0; round < Rounds; round++)
        {
            long ofCaller = 0;
            Read();
            long[] before = [.. allocated];
            for (int i = 0; i < StepsOfRound; i++)
            {
                ofCaller += Step();
            }

            Read();
            rounds.Add(ofCaller + Enumerable.Range(1, threads - 1).Sum(w => allocated[w] - before[w]));
        }

        Assert.That(rounds.Count(bytes => bytes != 0), Is.LessThanOrEqualTo(1), string.Join(", ", rounds));

        void Prefill()
        {
            Assert.That(sequence.TryExtend(context));
            var batch = new RaggedBatch();
            batch.Add(new int[context], 0, sequence.Pages, LogitsWanted.None);
            model.Forward.Run(batch, []);
            sequence.Advance(context);

            var decoding = new RaggedBatch();
            decoding.Add([7], context - 1, sequence.Pages, LogitsWanted.None);
            var plan = new AttentionPlan(model.Weights.Shape, lanes: 8);
            plan.Make(decoding, int.MaxValue, threads);
            Assert.That(plan.Groups[0].IsCut);
        }

        void Read()
        {
            inside = 0;
            model.Pool.Run(threads, read);
        }

        long Step()
        {
            Assert.That(sequence.TryExtend(1));
            var batch = new RaggedBatch();
            batch.Add([7], sequence.Length, sequence.Pages, LogitsWanted.Last);
            long before = GC.GetAllocatedBytesForCurrentThread() - SimulatedDriver.AllocatedByThread;
            model.Forward.Run(batch, logits);
            long bytes = GC.GetAllocatedBytesForCurrentThread() - SimulatedDriver.AllocatedByThread - before;
            sequence.Advance(1);
            return bytes;
        }
    }
}
