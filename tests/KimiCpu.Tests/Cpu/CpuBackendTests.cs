// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Checkpoints;
using KimiCpu.Cpu;
using KimiCpu.Cpu.Threading;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cpu;

[TestFixture]
internal sealed class CpuBackendTests
{
    [Test]
    public void Threads_wait_longer_as_long_as_another_device_has_the_hot_path()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        using var loaded = new LoadedWeights(checkpoint, new ExpertMemoryPlan(null, "test"));
        using (var alone = new CpuBackend(loaded.Model, new CpuBackendOptions()))
        {
            Assert.That(alone.Pool.SpinTime, Is.EqualTo(WorkerPool.DefaultSpinTime));
        }

        using (var beside = new CpuBackend(loaded.Model, new CpuBackendOptions { HotPathElsewhere = true }))
        {
            Assert.That(beside.Pool.SpinTime, beside.Pool.MayWait ? Is.GreaterThan(WorkerPool.DefaultSpinTime) : Is.EqualTo(WorkerPool.DefaultSpinTime));
            beside.TakeOverHotPath();
            Assert.That(beside.Pool.SpinTime, Is.EqualTo(WorkerPool.DefaultSpinTime));
        }
    }

    /// <summary>Others would spin on cores that somebody needs, or spend time that a quota grants for work.</summary>
    [Test]
    public void Threads_that_float_wait_longer_where_each_has_a_core_and_there_is_no_other_model()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        using var loaded = new LoadedWeights(checkpoint, new ExpertMemoryPlan(null, "test"));
        LogicalProcessor[] cores = [.. Enumerable.Range(0, 4).Select(i => new LogicalProcessor(i, i, 0))];
        Assert.That(Waits(3, null));
        Assert.That(Waits(4, 4));
        Assert.That(Waits(5, null), Is.False);
        Assert.That(Waits(4, 3), Is.False);
        Assert.That(Waits(4, 3.5), Is.False);
        using (new WorkerPool(2))
        {
            Assert.That(Waits(3, null), Is.False);
        }

        Assert.That(Waits(3, null));
        using (var tied = new WorkerPool(4, new CpuTopology(cores, 3.5)))
        {
            Assert.That(tied.MayWait, Is.False);
        }

        bool Waits(int threads, double? quota)
        {
            var options = new CpuBackendOptions { HotPathElsewhere = true, Threads = threads, SimulatedTopology = new CpuTopology(cores, quota) };
            using var backend = new CpuBackend(loaded.Model, options);
            Assert.That(backend.Pool.OnCores, Is.False);
            return backend.Pool.SpinTime > WorkerPool.DefaultSpinTime;
        }
    }
}
