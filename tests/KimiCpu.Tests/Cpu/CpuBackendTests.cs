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
    /// <summary>Threads that float would spin on cores that others need.</summary>
    [Test]
    public void Threads_on_cores_of_their_own_wait_longer_as_long_as_another_device_has_the_hot_path()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.Checkpoint("tiny-int4"));
        using var loaded = new LoadedWeights(checkpoint, new ExpertMemoryPlan(null, "test"));
        using (var alone = new CpuBackend(loaded.Model, new CpuBackendOptions()))
        {
            Assert.That(alone.Pool.SpinTime, Is.EqualTo(WorkerPool.DefaultSpinTime));
        }

        using (var beside = new CpuBackend(loaded.Model, new CpuBackendOptions { HotPathElsewhere = true }))
        {
            Assert.That(beside.Pool.SpinTime, beside.Pool.OnCores ? Is.GreaterThan(WorkerPool.DefaultSpinTime) : Is.EqualTo(WorkerPool.DefaultSpinTime));
            beside.TakeOverHotPath();
            Assert.That(beside.Pool.SpinTime, Is.EqualTo(WorkerPool.DefaultSpinTime));
        }

        var machine = new CpuTopology([new LogicalProcessor(0, 0, 0), new LogicalProcessor(1, 1, 0)]);
        using var floating = new CpuBackend(loaded.Model, new CpuBackendOptions { HotPathElsewhere = true, SimulatedTopology = machine });
        Assert.That(floating.Pool.SpinTime, Is.EqualTo(WorkerPool.DefaultSpinTime));
    }
}
