// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Compute;
using KimiCpu.Cuda.Experts;

namespace KimiCpu.Tests.Cuda.Experts;

[TestFixture]
[CancelAfter(60_000)]
internal sealed class PassingExpertsTests
{
    private static readonly MlpWeights[] s_weights = [.. Enumerable.Range(0, 4).Select(_ => new MlpWeights { Gate = default!, Up = default!, Down = default! })];

    [Test]
    public void Experts_are_taken_by_number_in_whatever_order_they_come()
    {
        var passing = new PassingExperts(s_weights.Length);
        passing.Begin([0, 2, 3]);
        Assert.That(Enumerable.Range(0, 4).Select(passing.Passes), Is.EqualTo(new[] { true, false, true, true }));
        foreach (int expert in new[] { 3, 0, 2 })
        {
            passing.HandOver(expert, s_weights[expert]);
        }

        foreach (int expert in new[] { 0, 2, 3 })
        {
            Assert.That(passing.Take(expert), Is.SameAs(s_weights[expert]));
            passing.Return();
        }

        passing.WaitUntilTaken();
        passing.End();
        passing.Begin([1]);
        Assert.That(Enumerable.Range(0, 4).Select(passing.Passes), Is.EqualTo(new[] { false, true, false, false }));
        passing.WaitUntilTaken();
    }

    /// <summary>A slot that is read again has another expert's bytes.</summary>
    [Test]
    public void Neither_the_end_of_a_wave_nor_that_of_a_layer_comes_while_bytes_are_read([Values] bool ofWave)
    {
        var passing = new PassingExperts(s_weights.Length);
        passing.Begin([0]);
        passing.HandOver(0, s_weights[0]);
        passing.Take(0);
        Thread pass = Run(ofWave ? passing.WaitUntilTaken : passing.End);
        Assert.That(WaitsFor(pass), "the reader");
        passing.Return();
        pass.Join();
    }

    [Test]
    public void The_end_of_a_wave_waits_for_experts_that_nobody_has_taken_yet()
    {
        var passing = new PassingExperts(s_weights.Length);
        passing.Begin([0, 1]);
        passing.HandOver(0, s_weights[0]);
        passing.HandOver(1, s_weights[1]);
        Thread pass = Run(passing.WaitUntilTaken);
        for (int expert = 0; expert < 2; expert++)
        {
            Assert.That(WaitsFor(pass), $"expert {expert}");
            passing.Take(expert);
            passing.Return();
        }

        pass.Join();
    }

    /// <summary>Either side may fail; the other one must not wait for what it will never get.</summary>
    [Test]
    public void Nobody_waits_behind_the_end()
    {
        var passing = new PassingExperts(s_weights.Length);
        passing.Begin([0, 1]);
        MlpWeights? taken = s_weights[1];
        Thread gpu = Run(() => taken = passing.Take(1));
        Assert.That(WaitsFor(gpu), "expert 1");
        passing.HandOver(0, s_weights[0]);
        Thread pass = Run(passing.WaitUntilTaken);
        Assert.That(WaitsFor(pass), "expert 0 to be taken");
        passing.End();
        gpu.Join();
        pass.Join();
        Assert.That(taken, Is.Null);
        passing.HandOver(1, s_weights[1]);
        Assert.That(passing.Take(1), Is.Null, "what comes late");
        passing.WaitUntilTaken();
    }

    [Test]
    public void Waits_are_counted_on_either_side()
    {
        var passing = new PassingExperts(s_weights.Length);
        passing.Begin([0]);
        passing.NoteWait(5);
        passing.NoteWait(7);
        Thread gpu = Run(() => passing.Take(0));
        Assert.That(WaitsFor(gpu), "the expert");
        long begin = Stopwatch.GetTimestamp();
        Thread.Sleep(20);
        long waited = Stopwatch.GetTimestamp() - begin;
        passing.HandOver(0, s_weights[0]);
        gpu.Join();
        Assert.That((passing.TicksOfPass, passing.TicksOfGpu), Is.EqualTo((12L, passing.TicksOfGpu)));
        Assert.That(passing.TicksOfGpu, Is.GreaterThanOrEqualTo(waited));
        Thread pass = Run(passing.WaitUntilTaken);
        Assert.That(WaitsFor(pass), "the reader");
        begin = Stopwatch.GetTimestamp();
        Thread.Sleep(20);
        waited = Stopwatch.GetTimestamp() - begin;
        passing.Return();
        pass.Join();
        Assert.That(passing.TicksOfPass, Is.GreaterThanOrEqualTo(12 + waited));
        passing.End();
        passing.Begin([]);
        Assert.That((passing.TicksOfPass, passing.TicksOfGpu), Is.EqualTo((0L, 0L)));
    }

    private static Thread Run(Action work)
    {
        var thread = new Thread(() => work()) { IsBackground = true };
        thread.Start();
        return thread;
    }

    /// <summary>Whether a thread comes to wait, and does not just end.</summary>
    private static bool WaitsFor(Thread thread)
    {
        SpinWait.SpinUntil(() => !thread.IsAlive || thread.ThreadState.HasFlag(System.Threading.ThreadState.WaitSleepJoin));
        return thread.IsAlive;
    }
}
