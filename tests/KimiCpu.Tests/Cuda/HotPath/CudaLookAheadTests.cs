// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cpu;
using KimiCpu.Cuda.Memory;
using KimiCpu.Devices;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda.Simulation;
using KimiCpu.Tests.Model;
using KimiCpu.Weights;
using Microsoft.Extensions.Logging.Abstractions;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Guesses of the next layer's experts on the simulated GPU: those of the CPU, no part of any result, and what a store reads ahead by.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed unsafe class CudaLookAheadTests
{
    private static readonly int[] s_tokens = [.. Enumerable.Range(0, 40).Select(i => i * 37 % 500)];

    /// <summary>By one token and by a few the kernels for few rows guess, by 40 the tensor cores.</summary>
    [Test]
    public void The_next_layers_router_guesses_from_the_rows_of_this_one([Values("tiny-int4", "tiny-k25")] string checkpoint, [Values(1, 7, 40)] int chunk)
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint(checkpoint), lookAhead: true);
        int last = Array.FindLastIndex(model.Weights.Layers, l => l.IsMoe);
        int guesses = 0;
        int same = 0;
        model.Routed = (layer, rows) =>
        {
            Assert.That(rows.Predicted == null, Is.EqualTo(layer == last), "nothing follows the last layer");
            for (int row = 0; row < rows.RowCount && layer != last; row++)
            {
                (int[] ids, float[] scores) = Guess(model.Weights, layer, new ReadOnlySpan<float>(rows.Hidden + (row * model.Weights.Shape.HiddenSize), model.Weights.Shape.HiddenSize));
                for (int k = 0; k < ids.Length; k++)
                {
                    int found = rows.Predicted[(row * ids.Length) + k];
                    Assert.That(scores[found], Is.EqualTo(scores[ids[k]]).Within(1e-4), "near ties may fall either way");
                    guesses++;
                    same += found == ids[k] ? 1 : 0;
                }
            }
        };
        model.Logits(s_tokens, chunk);
        Assert.That(guesses, Is.EqualTo(model.Weights.Layers.Count(l => l.IsMoe && l != model.Weights.Layers[last]) * s_tokens.Length * model.Weights.Shape.ExpertsPerToken));
        Assert.That(same, Is.GreaterThan(0.99 * guesses));
    }

    /// <summary>Where rounding chooses no other expert on the way, so that rows differ by rounding alone.</summary>
    [Test]
    public void Guesses_are_those_of_the_CPU()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-steady"), lookAhead: true);
        using var cpu = new ModelUnderTest(Repository.Checkpoint("tiny-steady"), Backend.CpuExact, lookAhead: true);
        var found = new List<int[]>();
        var expected = new List<int[]>();
        model.Routed = (_, rows) => found.Add(Copy(rows));
        cpu.Forward.Routed = (_, rows) => expected.Add(Copy(rows));
        model.Logits(s_tokens);
        cpu.Logits(s_tokens);
        Assert.That(found.Select(f => f.Length), Is.EqualTo(expected.Select(e => e.Length)));
        int[] all = [.. expected.SelectMany(e => e)];
        Assert.That(all.Zip(found.SelectMany(f => f)).Count(p => p.First == p.Second), Is.GreaterThan(0.97 * all.Length).And.Positive);

        int[] Copy(RoutedRows rows) => rows.Predicted == null ? [] : new ReadOnlySpan<int>(rows.Predicted, rows.RowCount * model.Weights.Shape.ExpertsPerToken).ToArray();
    }

    /// <summary>Nor does a launch more go into the stream.</summary>
    [Test]
    public void Logits_are_the_same_bits_with_and_without([Values("tiny-int4", "tiny-bf16", "tiny-k25")] string checkpoint, [Values] bool useGraphs)
    {
        foreach (int chunk in new[] { 1, 7, 40 })
        {
            (float[] logits, Dictionary<string, int> launches) = Run(lookAhead: false);
            (float[] same, Dictionary<string, int> launchesToo) = Run(lookAhead: true);
            Assert.That(same, Is.EqualTo(logits), $"{chunk} tokens a step");
            Assert.That(launchesToo, Is.EquivalentTo(launches));

            (float[] Logits, Dictionary<string, int> Launches) Run(bool lookAhead)
            {
                using var driver = new SimulatedDriver();
                using var model = new GpuModel(driver, Repository.Checkpoint(checkpoint), useGraphs, lookAhead: lookAhead);
                return (model.Logits(s_tokens[..Math.Max(8, chunk)], chunk), driver.LaunchesOf);
            }
        }
    }

    [Test]
    public void The_plan_counts_what_guesses_take()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        ModelWeights weights = WeightLoader.Load(checkpoint);
        MemoryPlan without = MemoryPlan.Fit(weights, new MemoryWish(80, 512), 64 << 20);
        MemoryPlan with = MemoryPlan.Fit(weights, new MemoryWish(80, 512, LookAhead: true), 64 << 20);
        long logits = 80L * weights.Shape.ExpertCount * sizeof(float);
        Assert.That(with.WorkspaceBytes - without.WorkspaceBytes, Is.InRange(logits, logits + 255));
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), lookAhead: true);
        Assert.That(driver.DeviceBytes, Is.LessThanOrEqualTo(model.Plan.WeightBytes + model.Plan.WorkspaceBytes + (model.Plan.Pages * (model.HotPath.BytesPerPage + (80 * sizeof(uint))))));
    }

    /// <summary>Nothing is in memory at first: without guesses the first token misses every expert.</summary>
    [Test]
    public void A_store_beside_the_GPU_reads_ahead([Values] bool lookAhead)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        using var loaded = new LoadedWeights(checkpoint, new ExpertMemoryPlan(long.MaxValue, "test"));
        using var cpu = new CpuBackend(loaded.Model, new CpuBackendOptions { Threads = 2, HotPathElsewhere = true, ExpertFiles = loaded.ExpertFiles, Store = new TieredStoreOptions { Bytes = long.MaxValue } });
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.NanoModel, lookAhead: lookAhead) { Experts = cpu.Experts };
        model.Logits([17]);
        StoreCounters counters = ((TieredExpertStore)cpu.Store).Counters;
        Assert.That(counters.Hits + counters.Late, lookAhead ? Is.Positive : Is.Zero);
        Assert.That(counters.Misses, Is.Positive, "of the first layer");
    }

    [Test]
    public void A_model_guesses_where_experts_come_from_drives([Values] bool fromDrives)
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        using var driver = new SimulatedDriver { TotalBytes = 256 << 20 };
        var options = new KimiModelOptions { Device = KimiDevice.Cuda(), CudaDriver = driver.Table, ExpertMemory = fromDrives ? 1_000_000 : null, RememberExperts = false };
        var memory = new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, 256, new ProcessMemory(8L << 30, 8L << 30, null));
        using var devices = new ModelDevices(checkpoint, memory, 256, options, NullLogger.Instance);
        var guessed = new List<bool>();
        ForwardPass forward = devices.Runner.Forward;
        forward.Routed = (_, rows) => guessed.Add(rows.Predicted != null);
        using KvSequence sequence = devices.Runner.Cache.CreateSequence();
        Assert.That(sequence.TryExtend(2));
        var batch = new RaggedBatch();
        batch.Add(new[] { 5, 6 }, 0, sequence.Pages, LogitsWanted.None);
        forward.Run(batch, []);
        Assert.That(devices.ReadsDrives, Is.EqualTo(fromDrives));
        Assert.That(guessed[..^1], Is.Not.Empty.And.All.EqualTo(fromDrives));
        Assert.That(guessed[^1], Is.False);
    }

    /// <summary>The next layer's choice, and every expert's score in it, in double precision.</summary>
    private static (int[] Ids, float[] Scores) Guess(ModelWeights weights, int layer, ReadOnlySpan<float> hidden)
    {
        RouterWeights router = weights.NextMoeLayer(layer)!.Router!;
        var logits = new float[weights.Shape.ExpertCount];
        var scores = new float[logits.Length];
        var row = new double[weights.Shape.HiddenSize];
        for (int e = 0; e < logits.Length; e++)
        {
            ReferenceLinear.DecodeRow(router.Gate, e, row);
            double sum = 0;
            for (int c = 0; c < row.Length; c++)
            {
                sum += row[c] * hidden[c];
            }

            logits[e] = (float)sum;
            scores[e] = (float)(1 / (1 + Math.Exp(-sum))) + router.CorrectionBias[e];
        }

        var ids = new int[weights.Shape.ExpertsPerToken];
        ReferenceRouter.Route(weights.Shape, logits, router.CorrectionBias, ids, new float[ids.Length]);
        return (ids, scores);
    }
}
