// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Driver;
using KimiCpu.Cuda.Experts;
using KimiCpu.Cuda.HotPath;
using KimiCpu.Devices;
using KimiCpu.Model;
using KimiCpu.Tests.Cpu.ExpertStore;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Prompts whose experts come from drives, and pass through the simulated GPU from a store's slots beside those that the CPU computes.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
[CancelAfter(300_000)]
internal sealed class StreamedFromDrivesTests
{
    private const string Tiny = "tiny-steady";
    private const int Experts = 12;

    private static readonly int[] s_tokens = [.. Enumerable.Range(3, LinearProgram.DefaultManyRows + 4)];

    /// <summary>With one slot each expert is a wave, so that it is computed or on its way before the next one is read.</summary>
    [Test]
    public void The_same_split_gives_the_same_bits_wherever_experts_come_from([Values(0, 5, Experts)] int streamed, [Values(1, 4, 2 * Experts)] int slots, [Values(0.0, 0.4)] double held)
    {
        using var driver = new SimulatedDriver();
        using var model = Open(driver, new StreamedExpertTests.Forced(streamed), held);
        using var mapped = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
        model.Experts = mapped.Experts;
        float[] expected = model.Logits(s_tokens);
        long passed = model.HotPath.Prompt!.Passed;
        using var drives = new Drives(slots);
        model.Experts = drives.Cpu.Experts;
        for (int again = 0; again < 2; again++)
        {
            Assert.That(model.Logits(s_tokens), Is.EqualTo(expected));
        }

        Assert.That(model.HotPath.Prompt.Passed, Is.EqualTo(3 * passed));
        Assert.That(passed, streamed == 0 ? Is.Zero : Is.Positive);
        Assert.That(drives.Store.Counters.Misses, Is.Positive);
    }

    /// <summary>What the drive takes says nothing about the CPU, also in the layer that streams nothing and tells how fast it is.</summary>
    [Test]
    public void Waits_for_drives_are_taken_off_the_time_of_the_CPU([Values(0, 5)] int streamed)
    {
        using var driver = new SimulatedDriver();
        var split = new StreamedExpertTests.Forced(streamed);
        using var model = Open(driver, split, held: 0);
        using var drives = new Drives(4);
        model.Experts = new Waiting(drives.Cpu.Experts);
        model.Logits(s_tokens);
        Assert.That(split.Noted, Has.Count.EqualTo(2).And.All.Matches<StreamedLayer>(n => n.CpuSeconds < 0), "it is said to have waited for longer than it was there");
    }

    [Test]
    public void A_read_that_fails_fails_the_pass_by_name_and_the_next_one_is_right([Values(1, 4, 2 * Experts)] int slots, [Values(0, 7)] int goodReads)
    {
        using var driver = new SimulatedDriver();
        using (var model = Open(driver, new StreamedExpertTests.Forced(5), held: 0))
        using (var mapped = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 }))
        using (var drives = new Drives(slots))
        {
            model.Experts = drives.Cpu.Experts;
            (drives.Files.GoodReads, drives.Files.Error) = (drives.Files.Reads + goodReads, new IOException("Input/output error"));
            CheckpointException error = Assert.Throws<CheckpointException>(() => model.Logits(s_tokens))!;
            Assert.That(error.Tensor, Does.Contain(".mlp.experts."));
            drives.Files.Error = null;
            float[] logits = model.Logits(s_tokens);
            model.Experts = mapped.Experts;
            Assert.That(logits, Is.EqualTo(model.Logits(s_tokens)));
        }

        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void A_drive_that_does_not_answer_fails_the_pass_and_not_the_next_one([Values(1, 2 * Experts)] int slots)
    {
        using var driver = new SimulatedDriver();
        using var model = Open(driver, new StreamedExpertTests.Forced(5), held: 0);
        using var drives = new Drives(slots, patience: TimeSpan.FromSeconds(1));
        model.Experts = drives.Cpu.Experts;
        drives.Files.StallFrom(drives.Files.Reads + 6);
        Assert.That(() => model.Logits(s_tokens), Throws.TypeOf<CheckpointException>().With.Message.Contains("not answered"));
        drives.Files.Resume();
        float[] logits = model.Logits(s_tokens);
        using var mapped = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
        model.Experts = mapped.Experts;
        Assert.That(logits, Is.EqualTo(model.Logits(s_tokens)));
    }

    /// <summary>The CPU's side waits until experts are taken before it gives their slots to others.</summary>
    [Test]
    public void A_GPU_that_fails_holds_up_neither_the_pass_nor_the_next_one([Values("cuCtxSetCurrent", "cuStreamWaitEvent", "cuEventRecord")] string function, [Values(1, 4)] int slots)
    {
        using var driver = new SimulatedDriver();
        var split = new StreamedExpertTests.Forced(Experts);
        using var model = Open(driver, split, held: 0);
        using var drives = new Drives(slots);
        model.Experts = drives.Cpu.Experts;
        split.Chosen = () => (driver.FailingFunction, driver.Failure) = (function, CUResult.ErrorUnknown);
        Assert.That(() => model.Logits(s_tokens), Throws.InstanceOf<CudaException>().With.Message.Contains($"{function} failed"));
        split.Chosen = null;
        Assert.That(model.HotPath.Settle());
        float[] logits = model.Logits(s_tokens);
        using var mapped = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = 2 });
        model.Experts = mapped.Experts;
        Assert.That(logits, Is.EqualTo(model.Logits(s_tokens)));
    }

    [Test]
    public void A_GPU_that_hangs_ends_the_pass()
    {
        using var driver = new SimulatedDriver();
        var split = new StreamedExpertTests.Forced(Experts);
        using var model = Open(driver, split, held: 0, patience: TimeSpan.FromSeconds(1));
        using var drives = new Drives(1);
        model.Experts = drives.Cpu.Experts;
        split.Chosen = () => driver.Hangs = true;
        Assert.That(() => model.Logits(s_tokens), Throws.TypeOf<GpuLostException>().With.Message.Contains("within 1 s"));
    }

    [Test]
    public void A_model_lets_experts_pass_through_wherever_they_come_from([Values] bool fromDrives)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        using var driver = new SimulatedDriver();
        var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, ExpertMemory = fromDrives ? 1_000_000 : null, RememberExperts = false };
        var memory = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, 256, new ProcessMemory(8L << 30, 8L << 30, null));
        using var devices = new ModelDevices(checkpoint, memory, 256, options, NullLogger.Instance);
        Assert.That(devices.ReadsDrives, Is.EqualTo(fromDrives));
        var passing = new List<bool>();
        ForwardPass forward = devices.Runner.Forward;
        forward.Routed = (_, rows) => passing.Add(rows.Passing is not null);
        using KvSequence sequence = devices.Runner.Cache.CreateSequence();
        Assert.That(sequence.TryExtend(s_tokens.Length));
        var batch = new RaggedBatch();
        batch.Add(s_tokens, 0, sequence.Pages, LogitsWanted.None);
        forward.Run(batch, []);
        Assert.That(passing, Has.Count.EqualTo(2).And.All.True);
    }

    private static GpuModel Open(SimulatedDriver driver, StreamedExpertTests.Forced split, double held, TimeSpan? patience = null) =>
        new(driver, Repository.Checkpoint(Tiny), placement: new StreamedExpertTests.Some(held), expertBytes: null, split: split, patience: patience);

    /// <summary>The CPU's side, with so many slots.</summary>
    private sealed class Drives : IDisposable
    {
        private readonly Checkpoint _checkpoint = Checkpoint.Open(Repository.Checkpoint(Tiny));
        private readonly LoadedWeights _loaded;

        public Drives(int slots, TimeSpan? patience = null)
        {
            FaultyFiles? files = null;
            _loaded = new LoadedWeights(_checkpoint, new ExpertMemoryPlan(long.MaxValue, "test"), wrap: inner => files = new FaultyFiles(inner));
            Files = files!;
            long slotBytes;
            using (var store = new TieredExpertStore(_loaded.Model, _loaded.ExpertFiles!, new TieredStoreOptions { Bytes = long.MaxValue }))
            {
                slotBytes = store.SlotBytes;
            }

            Cpu = new CpuBackend(_loaded.Model, new CpuBackendOptions
            {
                Threads = 2,
                HotPathElsewhere = true,
                ExpertFiles = _loaded.ExpertFiles,
                Store = new TieredStoreOptions { Bytes = slots * slotBytes, Patience = patience ?? TimeSpan.FromSeconds(30), ReadsOfDrive = 2 },
            });
        }

        public FaultyFiles Files { get; }

        public CpuBackend Cpu { get; }

        public TieredExpertStore Store => (TieredExpertStore)Cpu.Store;

        public void Dispose()
        {
            Cpu.Dispose();
            _loaded.Dispose();
            _checkpoint.Dispose();
        }
    }

    /// <summary>Says of each layer that it waited for drives for a quarter of an hour.</summary>
    private sealed class Waiting(IRoutedExperts experts) : IRoutedExperts
    {
        public long DriveBytesRead => experts.DriveBytesRead;

        public void Run(int layer, RoutedRows rows, Span<float> sum)
        {
            experts.Run(layer, rows, sum);
            rows.Passing!.NoteWait(900 * Stopwatch.Frequency);
        }

        public void Dispose()
        {
        }
    }
}
