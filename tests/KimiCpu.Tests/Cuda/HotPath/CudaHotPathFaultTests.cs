// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Compute.Reference;
using KimiCpu.Cuda.Driver;
using KimiCpu.Model;
using KimiCpu.Tests.Cuda.Simulation;

namespace KimiCpu.Tests.Cuda.HotPath;

/// <summary>Whole tiny models over the simulated driver, whose calls fail or whose numbers are none.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class CudaHotPathFaultTests
{
    /// <summary>A copy that an earlier failure left in the stream would land in the buffer that a later one fills.</summary>
    [Test]
    public void After_a_failure_nothing_of_it_is_under_way()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1, 2, 3]);
        var bytes = new byte[3 * (model.HotPath.BytesPerPage / KvPage.Tokens)];
        model.HotPath.ReadPage(0, 3, bytes);
        var other = new byte[bytes.Length];
        Random.Shared.NextBytes(other);
        (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
        Assert.That(() => model.HotPath.ReadPage(0, 3, bytes), Throws.TypeOf<CudaException>());
        Assert.That(model.HotPath.Settle());
        model.HotPath.WritePage(1, 3, other);
        model.HotPath.ReadPage(1, 3, bytes);
        Assert.That(bytes, Is.EqualTo(other));
        (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
        Assert.That(model.HotPath.Settle(), Is.False);
        Assert.That(() => model.HotPath.ReadPage(1, 3, bytes), Throws.TypeOf<GpuLostException>());
    }

    /// <summary>As the application's thread that disposes of a model which the engine's thread has run. The driver takes things back only from a thread that has the GPU.</summary>
    [Test]
    public void Another_thread_may_give_back_a_GPU_that_is_lost_without_an_error_that_stays([Values] bool isLost)
    {
        using var driver = new SimulatedDriver();
        var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
        model.Logits([1, 2, 3]);
        if (isLost)
        {
            (driver.FailingFunction, driver.Failure) = ("cuStreamQuery", CUResult.ErrorUnknown);
            Assert.That(model.HotPath.Settle(), Is.False);
            Assert.That(() => model.Logits([1]), Throws.TypeOf<GpuLostException>());
        }

        var other = new Thread(model.Dispose);
        other.Start();
        other.Join();
        Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)));
    }

    [Test]
    public void A_NaN_is_reported_with_its_layer_and_row()
    {
        using var driver = new SimulatedDriver();
        using var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"));
        model.Experts = new PoisonedExperts(model.Weights, layer: 2, row: 1);
        using KvSequence sequence = model.Cache.CreateSequence();
        model.Step(sequence, [1, 2, 3]);

        // Row 2 sees row 1 in the next layer's attention; row 0 does not.
        Assert.That(Enumerable.Range(0, 3).Select(model.HotPath.NonFiniteLayer), Is.EqualTo(new[] { -1, 2, 3 }));
    }

    [Test]
    public void Every_call_that_fails_fails_clearly_and_leaks_nothing()
    {
        string[] called;
        int opened = 0;
        using (SimulatedDriver sound = Driver(0, default))
        {
            called = [.. sound.Sequence.Take(Run(sound, () => opened = sound.Calls))];
            Assert.That(sound.LiveObjects, Is.Zero);
        }

        // What the application's thread has is asked for first and set again behind the opening. That fails in silence.
        Assert.That(called[..2], Is.EqualTo(new[] { "cuCtxGetCurrent", "cuThreadExchangeStreamCaptureMode" }));
        Assert.That(called[(opened - 2)..opened], Is.EqualTo(new[] { "cuThreadExchangeStreamCaptureMode", "cuCtxSetCurrent" }));

        // Copies of weights and launches of layers are many and alike: those between the same two others fail where they are first and last.
        int[] calls = [.. Enumerable.Range(1, called.Length)
            .Where(c => c > 2 && c != opened - 1 && c != opened)
            .GroupBy(c => (c > 1 ? called[c - 2] : "", called[c - 1], c < called.Length ? called[c] : ""))
            .SelectMany(g => g.Take(2).Union(g.TakeLast(2))).Order()];
        TestContext.Out.WriteLine($"{calls.Length} of {called.Length} calls fail");
        foreach (CUResult failure in new[] { CUResult.ErrorUnknown, CUResult.ErrorIllegalAddress })
        {
            foreach (int call in calls)
            {
                using SimulatedDriver driver = Driver(call, failure);
                string function = called[call - 1];
                string where = $"call {call}, {function}";
                Assert.That(() => Run(driver), Throws.InstanceOf<CudaException>().With.Message.StartsWith($"{function} failed with CUDA error {(int)failure}"), where);
                Assert.That((driver.LiveObjects, driver.Fault), Is.EqualTo((0, (string?)null)), where);
            }
        }

        // A small device: its memory is filled each time.
        static SimulatedDriver Driver(int failingCall, CUResult failure) => new() { FailingCall = failingCall, Failure = failure, TotalBytes = 8 << 20 };

        // What is given back at the end may fail in silence.
        static int Run(SimulatedDriver driver, Action? opened = null)
        {
            using var model = new GpuModel(driver, Repository.Checkpoint("tiny-qproj"));
            opened?.Invoke();
            model.Logits([1, 2, 3], 2);
            return driver.Calls;
        }
    }

    [Test]
    public void A_GPU_that_hangs_or_dies_is_lost_and_says_so_from_then_on()
    {
        using var driver = new SimulatedDriver();
        using (var model = new GpuModel(driver, Repository.Checkpoint("tiny-int4"), patience: TimeSpan.FromSeconds(2)))
        {
            driver.Hangs = true;
            Assert.That(() => model.Logits([1, 2]), Throws.TypeOf<GpuLostException>().With.Message.Contains("has not finished layer 1 within 2 s"));
            Assert.That(() => model.Logits([1, 2]), Throws.TypeOf<GpuLostException>().With.Message.Contains("lost by an earlier error: Simulated GPU has not finished layer 1 within 2 s"));
        }

        // The GPU may still write to all of it.
        Assert.That(driver.LiveObjects, Is.Positive);
        Assert.That(driver.Fault, Is.Null);
    }

    private sealed class PoisonedExperts(ModelWeights weights, int layer, int row) : IRoutedExperts
    {
        private readonly ReferenceExperts _inner = new(weights);

        public long DriveBytesRead => _inner.DriveBytesRead;

        public void Run(int at, RoutedRows rows, Span<float> sum)
        {
            _inner.Run(at, rows, sum);
            if (at == layer)
            {
                sum[row * weights.Shape.HiddenSize] = float.NaN;
            }
        }

        public void Dispose() => _inner.Dispose();
    }
}
