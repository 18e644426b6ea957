// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Model;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cpu;

/// <summary>A count that was found by decoding is for decoding: arithmetic binds prompts, which take all threads.</summary>
[TestFixture]
internal sealed unsafe class DecodingThreadsTests
{
    private const int Threads = 4;

    [TestCase(1, 1)]
    [TestCase(15, 1)]
    [TestCase(16, Threads)]
    [TestCase(64, Threads)]
    public void A_step_of_the_CPU_takes_as_many_threads_as_suit_its_rows(int rows, int expected)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, Threads);
        int[] tokens = [.. Enumerable.Range(0, rows).Select(i => i % model.Vocabulary)];
        float[] all = model.Logits(tokens);
        Assert.That(model.Pool.ActiveThreads, Is.EqualTo(Threads), "nobody has tuned them");
        model.Pool.DecodingThreads = 1;
        Assert.That(model.Logits(tokens), Is.EqualTo(all));
        Assert.That(model.Pool.ActiveThreads, Is.EqualTo(expected));
    }

    /// <summary>A GPU has the hot path, and the CPU routed experts alone.</summary>
    [TestCase(1, 1)]
    [TestCase(15, 1)]
    [TestCase(16, Threads)]
    public void So_do_routed_experts_beside_a_device(int rows, int expected)
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, threads: 1);
        using var beside = new CpuBackend(model.Weights, new CpuBackendOptions { HotPathElsewhere = true, Threads = Threads });
        beside.Pool.DecodingThreads = 1;
        ModelShape shape = model.Weights.Shape;
        var hidden = new float[rows * shape.HiddenSize];
        var sum = new float[hidden.Length];
        int[] chosen = [.. Enumerable.Range(0, rows * shape.ExpertsPerToken).Select(i => i % shape.ExpertsPerToken)];
        var factors = new float[chosen.Length];
        fixed (float* x = hidden, weights = factors)
        fixed (int* experts = chosen)
        {
            beside.Experts.Run(Array.FindIndex(model.Weights.Layers, l => l.IsMoe), new RoutedRows(rows, x, experts, weights), sum);
        }

        Assert.That(beside.Pool.ActiveThreads, Is.EqualTo(expected));
    }

    [Test]
    public void What_tuning_finds_is_for_decoding()
    {
        using var model = new ModelUnderTest(Repository.Checkpoint("tiny-int4"), Backend.CpuFast, Threads);
        var threads = new HashSet<int>();
        var timer = new DecodeTimer(model.Forward, model.Cache, TimeSpan.FromMinutes(1), () => threads.Add(model.Pool.ActiveThreads));
        ThreadChoice choice = ThreadTuning.Find(model.Pool, timer, () => { });
        Assert.That(threads, Is.SupersetOf(choice.Timings.Select(t => t.Threads)), "each count was decoded with");
        Assert.That(model.Pool.DecodingThreads, Is.EqualTo(choice.Threads));
        model.Logits([.. Enumerable.Range(0, 64).Select(i => i % model.Vocabulary)]);
        Assert.That(model.Pool.ActiveThreads, Is.EqualTo(Threads));
    }
}
