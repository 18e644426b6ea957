// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.Memory;
using KimiCpu.Devices;
using KimiCpu.Model;
using KimiCpu.Sessions;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests.Devices;

/// <summary>What one run leaves behind about its experts for the next one, on a GPU that has room for a few.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed unsafe class RememberedExpertsTests
{
    private const int Experts = 8;
    private const int Slots = 5;
    private const int Context = 256;

    [Test]
    public void A_GPU_holds_what_the_run_before_used_most([Values] bool remember)
    {
        using var model = new SyntheticModel();
        using var driver = new SimulatedDriver();
        string file = Path.Combine(model.Folder, "test.uses");
        var uses = new Dictionary<int, int>();
        HashSet<int> first = Run(tokens: 40);
        Assert.That(File.Exists(file), Is.EqualTo(remember));
        int[] used = [.. uses.OrderByDescending(u => u.Value).Select(u => u.Key)];
        Assert.That(first, Is.Not.SupersetOf(used[..Slots]), "the first run knew nothing");
        int least = uses[used[Slots - 1]];
        HashSet<int> most = [.. uses.Where(u => u.Value > least).Select(u => u.Key)];
        HashSet<int> enough = [.. uses.Where(u => u.Value >= least).Select(u => u.Key)];
        HashSet<int> second = Run(tokens: 1);
        if (remember)
        {
            Assert.That(second, Is.SupersetOf(most).And.SubsetOf(enough));
        }
        else
        {
            Assert.That(second, Is.EqualTo(first));
        }

        Assert.That((driver.Fault, driver.LiveObjects), Is.EqualTo(((string?)null, 0)));

        // Which experts the GPU holds in the first pass; layer and number in one.
        HashSet<int> Run(int tokens)
        {
            using Checkpoint checkpoint = Checkpoint.Open(model.Folder);
            using ModelDevices devices = Devices(checkpoint, Options(checkpoint, driver, remember ? file : null));
            ForwardPass forward = devices.Runner.Forward;
            HashSet<int> held = [];
            forward.Routed += (layer, rows) =>
            {
                for (int e = 0; e < Experts && forward.Passes == 0; e++)
                {
                    if (rows.Elsewhere[e])
                    {
                        held.Add((layer * Experts) + e);
                    }
                }

                foreach (int expert in new ReadOnlySpan<int>(rows.Experts, devices.Shape.ExpertsPerToken))
                {
                    uses[(layer * Experts) + expert] = uses.GetValueOrDefault((layer * Experts) + expert) + 1;
                }
            };
            Steps(devices, tokens);
            Assert.That(held, Has.Count.EqualTo(Slots));
            return held;
        }
    }

    /// <summary>No step asks the store for them: they would take slots and the drive's time from the others, and those that were used most first.</summary>
    [Test]
    [CancelAfter(120_000)]
    public void Slots_are_filled_with_what_the_GPU_does_not_hold([Values] bool preload)
    {
        using var model = new SyntheticModel();
        using var driver = new SimulatedDriver();
        using Checkpoint checkpoint = Checkpoint.Open(model.Folder);
        string file = Path.Combine(model.Folder, "test.uses");
        var counts = new UseCounts(3 * Experts, 1000);
        counts.Import([.. Enumerable.Range(0, 3 * Experts).Select(key => key < Experts ? 0.0 : key)], 3 * Experts);
        Assert.That(new ExpertStatistics(file, ModelIdentity.Of(checkpoint)).Save(counts), Is.Null);
        ModelWeights weights = WeightLoader.Load(checkpoint);
        long slotBytes = SlotBytes(model.Folder);
        KimiModelOptions options = Options(checkpoint, driver, preload ? null : file) with
        {
            GpuExpertBytes = MemoryPlan.ExpertWorkBytes(weights.Shape, 16 + 64) + ((Slots + ExpertRing.Slots) * ExpertSlotLayout.Of(weights)!.Bytes),
            ExpertMemory = ((2 * Experts) - Slots) * slotBytes,
            PreloadExperts = preload,
        };
        using ModelDevices devices = Devices(checkpoint, options);
        TieredExpertStore store = devices.Store!;
        Assert.That(store.Slots, Is.EqualTo((2 * Experts) - Slots));
        Assert.That(() => store.TakenSlots, Is.EqualTo(store.Slots).After(20_000, 20));
        int held = 0;
        devices.Runner.Forward.Routed += (_, rows) => held += devices.Runner.Forward.Passes == 0 ? new ReadOnlySpan<bool>(rows.Elsewhere, Experts).Count(true) : 0;
        Steps(devices, 12);
        Assert.That(held, Is.EqualTo(Slots));
        Assert.That(store.Counters.Hits, Is.Positive);
        Assert.That((store.Counters.Misses, store.Counters.Late), Is.EqualTo((0L, 0L)));
    }

    /// <summary>The model goes on on the CPU, and so does what is written every ten minutes and at its end.</summary>
    [Test]
    public void What_is_used_after_the_GPU_is_lost_is_left_behind_too()
    {
        using var model = new SyntheticModel();
        using var driver = new SimulatedDriver();
        using Checkpoint checkpoint = Checkpoint.Open(model.Folder);
        using ModelDevices devices = Devices(checkpoint, Options(checkpoint, driver, file: null));
        Steps(devices, 2);
        Assert.That(devices.Uses!.TakeChanges(), Is.Not.Null);
        (driver.Failure, driver.FailingFunction) = (CUResult.ErrorLaunchFailed, "cuGraphLaunch");
        DeviceException failure = Assert.Catch<DeviceException>(() => Steps(devices, 1))!;
        Assert.That(devices.Recover(failure, ofStep: true).Next, Is.SameAs(devices.Runner), failure.Message);
        devices.Uses.TakeChanges();
        Steps(devices, 2);
        Assert.That(devices.Uses.TakeChanges(), Is.Not.Null);
        Assert.That(devices.Uses.TakeChanges(), Is.Null, "nothing since");
    }

    private static KimiModelOptions Options(Checkpoint checkpoint, SimulatedDriver driver, string? file)
    {
        ModelWeights weights = WeightLoader.Load(checkpoint);
        return new KimiModelOptions
        {
            Device = KimiDevice.Auto,
            CudaDriver = driver.Table,
            Threads = 1,
            PrefillChunk = 16,
            GpuExpertBytes = MemoryPlan.ExpertWorkBytes(weights.Shape, 16 + 64) + ((Slots + ExpertRing.Slots) * ExpertSlotLayout.Of(weights)!.Bytes),
            RememberExperts = file is not null,
            ExpertUsesFile = file,
        };
    }

    private static ModelDevices Devices(Checkpoint checkpoint, KimiModelOptions options)
    {
        var memory = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, Context, new ProcessMemory(8L << 30, 8L << 30, null));
        return new ModelDevices(checkpoint, memory, Context, options, NullLogger.Instance);
    }

    private static long SlotBytes(string folder)
    {
        using var model = new ModelUnderTest(folder, Backend.CpuFast, slotBytes: long.MaxValue);
        return model.Store.SlotBytes;
    }

    private static void Steps(ModelDevices devices, int tokens)
    {
        using KvSequence sequence = devices.Runner.Cache.CreateSequence();
        Assert.That(sequence.TryExtend(tokens));
        for (int i = 0; i < tokens; i++)
        {
            var batch = new RaggedBatch();
            batch.Add(new[] { i % 3 }, i, sequence.Pages, LogitsWanted.None);
            devices.Runner.Forward.Run(batch, []);
            sequence.Advance(1);
        }
    }
}
