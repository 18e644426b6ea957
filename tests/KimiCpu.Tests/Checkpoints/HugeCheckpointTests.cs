// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Planning;
using KimiCpu.Tests.Planning;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Checkpoints;

/// <summary>A checkpoint of Kimi K2 Thinking's dimensions and headers on a sparse file system: 62 shards, some 210,000 tensors, 594 GB.</summary>
[TestFixture]
internal sealed class HugeCheckpointTests
{
    [Test]
    [CancelAfter(120_000)]
    public async Task Opening_costs_neither_memory_nor_time_in_proportion_to_the_weights(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu-huge").FullName;
        try
        {
            WriteOrIgnore(folder);
            long apparent = Directory.GetFiles(folder, "*.safetensors").Sum(f => new FileInfo(f).Length);
            Assert.That(apparent, Is.GreaterThan(550_000_000_000));
            GC.Collect();
            long managed = GC.GetTotalMemory(forceFullCollection: true);
            long start = Stopwatch.GetTimestamp();
            using Checkpoint checkpoint = await Task.Run(() => Checkpoint.Open(folder), cancellationToken).WaitAsync(cancellationToken);
            TestContext.Out.WriteLine($"{checkpoint.Tensors.Count} tensors, {apparent / 1e9:F0} GB: opened in {Stopwatch.GetElapsedTime(start).TotalSeconds:F2} s");
            Assert.That(checkpoint.Tensors, Has.Count.GreaterThan(205_000));
            var weights = await Task.Run(() => WeightLoader.Load(checkpoint), cancellationToken).WaitAsync(cancellationToken);
            TestContext.Out.WriteLine($"weights found after {Stopwatch.GetElapsedTime(start).TotalSeconds:F2} s");
            Assert.That(weights.Layers[60].Experts, Has.Length.EqualTo(384));
            long held = GC.GetTotalMemory(forceFullCollection: true) - managed;
            TestContext.Out.WriteLine($"{held / 1e6:F0} MB managed");
            Assert.That(held, Is.LessThan(200_000_000), "a copy of even one layer would be 9.5 GB");
            foreach (double memory in new[] { 64e9, 256e9, 384e9 })
            {
                AssertDividedAsPlanned(checkpoint, memory, onGpu: false, int8HotPath: false);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: false, int8HotPath: true);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: true, int8HotPath: false);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: false, int8HotPath: false, pageFile: 0);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: false, int8HotPath: true, pageFile: 0);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: true, int8HotPath: false, pageFile: 0);
                AssertDividedAsPlanned(checkpoint, memory, onGpu: true, int8HotPath: false, pageFile: 10_000_000_000);
            }

            AssertMappedExpertsTakeNoPromise(checkpoint, int8HotPath: false);
            AssertMappedExpertsTakeNoPromise(checkpoint, int8HotPath: true);
            AssertSlotsAreWhatIsStillPromised(checkpoint, onGpu: false, int8HotPath: true);
            AssertSlotsAreWhatIsStillPromised(checkpoint, onGpu: true, int8HotPath: false);
            AssertStepsThatAreTooLongAreNamed(checkpoint);
            AssertCacheLeavesTheExperts(checkpoint, 640e9, takes: 1);
            AssertCacheLeavesTheExperts(checkpoint, 640L << 30, takes: 3);
            AssertCacheLeavesTheExperts(checkpoint, 1L << 40, takes: 14);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void WriteOrIgnore(string folder)
    {
        try
        {
            SparseK2.Write(folder);
        }
        catch (IOException e)
        {
            Assert.Ignore($"This file system has no sparse files of hundreds of GB: {e.Message}");
        }
    }

    /// <summary>`kimi plan` and the opening give experts the same memory.</summary>
    private static void AssertDividedAsPlanned(Checkpoint checkpoint, double memory, bool onGpu, bool int8HotPath, long? pageFile = null)
    {
        const int Context = 32_768;
        ProcessMemory free = Free(memory) with { UnpromisedBytes = (long)memory + pageFile };
        PlanMachine machine = Machines.Workstation(memory) with { Gpu = onGpu ? Machines.Card(24) : null, PromisableBeyondBytes = pageFile ?? double.PositiveInfinity };
        Placement planned = new MachinePlan(Machines.Thinking, machine, Context, int8HotPath).Placement;
        double inMemory = planned.Parts.Where(p => p is { Component: Component.RoutedExperts, Place: PlanPlace.Memory } or { Name: "rounding of slots" }).Sum(p => p.Bytes);
        var options = new KimiModelOptions { Threads = (int)machine.Cores.Value, Int8HotPath = int8HotPath };
        long divided = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, Context, free).Divide(onGpu).Experts.SlotBytes!.Value;

        // Of few experts a slot, which the plan has whole ones of, is more than that.
        Assert.That(divided, Is.EqualTo(inMemory).Within(0.1).Percent.Or.EqualTo(inMemory).Within((double)SlotMemory.BytesOfSlot((long)Machines.Thinking.ExpertBytes)), $"{memory / 1e9} GB, {onGpu}, {int8HotPath}, {pageFile}");
    }

    /// <summary>Windows, and Linux that is told to, promise all that is asked for: all weights that every token needs, before their copies.</summary>
    private static void AssertSlotsAreWhatIsStillPromised(Checkpoint checkpoint, bool onGpu, bool int8HotPath)
    {
        const long Memory = 256_000_000_000;
        ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
        CheckpointSummary summary = CheckpointSummary.Of(checkpoint);
        double placed = summary.Components.Where(c => c.Component != Component.RoutedExperts).Sum(c => c.Bytes);
        double kept = HotPathMemory.Parts(summary, checkpoint.Config, int8HotPath, onGpu).Sum(p => p.Bytes);
        double copies = int8HotPath ? kept - HotPathMemory.Parts(summary, checkpoint.Config, int8HotPath, onGpu).Where(p => !p.IsCopied).Sum(p => p.Bytes) : 0;
        var options = new KimiModelOptions { Int8HotPath = int8HotPath };
        long enough = Slots(null);
        Assert.That(Slots(Memory * 2), Is.EqualTo(enough), "a page file");
        long slots = Slots(Memory);
        Assert.That(slots, Is.LessThan(enough - 5e9));
        Assert.That(slots + placed + (copies / 2), Is.LessThan(Memory - (8L << 30)));

        long Slots(long? unpromised) =>
            new ModelMemory(checkpoint, shape, options, 32_768, Free(Memory) with { UnpromisedBytes = unpromised }).Divide(onGpu).Experts.SlotBytes!.Value;
    }

    /// <summary>Linux that promises no more than it has promises half of the memory where nothing else is said.</summary>
    private static void AssertMappedExpertsTakeNoPromise(Checkpoint checkpoint, bool int8HotPath)
    {
        const long Unpromised = 100_000_000_000;
        var options = new KimiModelOptions { Int8HotPath = int8HotPath };
        ProcessMemory memory = Free(1e12) with { AvailableBytes = Unpromised, UnpromisedBytes = Unpromised };
        MemoryShares shares = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, 32_768, memory).Divide(onGpu: false);
        Assert.That(shares.Experts.SlotBytes, Is.Null, shares.Experts.Reason);
        Assert.That(shares.CacheBytes, Is.LessThanOrEqualTo(Unpromised / 4));
    }

    /// <summary>The longest that may be asked for take 58 GB of activations.</summary>
    private static void AssertStepsThatAreTooLongAreNamed(Checkpoint checkpoint)
    {
        ModelShape shape = WeightLoader.ShapeOf(checkpoint.Config);
        var asked = new ModelMemory(checkpoint, shape, new KimiModelOptions { PrefillChunk = 65_536 }, 32_768, Free(64e9));
        Assert.That(() => asked.Divide(onGpu: false), Throws.TypeOf<KimiException>().With.Message.Contains("A smaller KimiModelOptions.PrefillChunk helps"));
        var usual = new ModelMemory(checkpoint, shape, new KimiModelOptions(), 32_768, Free(16e9));
        Assert.That(() => usual.Divide(onGpu: false), Throws.TypeOf<KimiException>().With.Message.Contains("A smaller KimiModelOptions.KvCacheBytes"));
    }

    private static ProcessMemory Free(double bytes) => new((long)bytes, (long)bytes, null);

    /// <summary>What is left over is the cache's, but not what the choice to map the experts has counted on.</summary>
    /// <param name="checkpoint">Of Kimi K2's size.</param>
    /// <param name="memory">All of its experts fit.</param>
    /// <param name="takes">Whole contexts that the cache holds at least.</param>
    private static void AssertCacheLeavesTheExperts(Checkpoint checkpoint, double memory, int takes)
    {
        int context = checkpoint.Config.MaxPositions;
        PlanMachine machine = Machines.Workstation(memory);
        Placement planned = new MachinePlan(Machines.Thinking, machine, context).Placement;
        double others = planned.ReserveBytes + planned.Parts.Where(p => p.Place == PlanPlace.Memory && p.Name != "KV cache").Sum(p => p.Bytes);
        var options = new KimiModelOptions { Threads = (int)machine.Cores.Value };
        MemoryShares shares = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, context, Free(memory)).Divide(onGpu: false);
        Assert.That(shares.Experts.SlotBytes, Is.Null, $"{memory / 1e9} GB");
        Assert.That(planned.Parts, Has.None.Matches<PlacedPart>(p => p!.Place == PlanPlace.Drive), "the plan has them in memory, too");
        double oneContext = (double)context * Machines.Thinking.Summary.CacheBytesPerToken;
        Assert.That(shares.CacheBytes, Is.InRange(takes * oneContext, memory - others), $"{memory / 1e9} GB");
        Assert.That(shares.CacheBytes, Is.LessThanOrEqualTo(memory / 4));
    }
}
