// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cpu;

namespace KimiCpu.Tests.Compute;

/// <summary>A system that has no thread left, as under a container's pids limit, is not short of memory, and says so.</summary>
[TestFixture]
internal sealed class OwnThreadTests
{
    [Test]
    public void A_thread_that_cannot_start_is_told_with_its_name_and_the_limits()
    {
        var refused = new OutOfMemoryExceptionOfThreads();
        InsufficientMemoryException error = Assert.Throws<InsufficientMemoryException>(() => OwnThread.Start(new Thread(() => { }) { Name = "kimi-x" }, _ => throw refused))!;
        Assert.That(error.Message, Does.Contain("kimi-x").And.Contain("ulimit -u").And.Contain("pids limit"));
        Assert.That(error.InnerException, Is.SameAs(refused));
    }

    [Test]
    public void A_pool_without_threads_says_what_is_missing() =>
        Assert.That(() => new WorkerPool(4, start: _ => throw new OutOfMemoryExceptionOfThreads()), Throws.TypeOf<InsufficientMemoryException>().With.Message.Contains("kimi-worker-1").And.Message.Contains("ulimit -u"));

    [Test]
    [CancelAfter(20_000)]
    public async Task Work_is_done_on_a_thread_of_its_own_and_its_exception_is_the_task_s(CancellationToken cancellationToken)
    {
        (bool isPools, string? name) = await OwnThread.Run("kimi-y", () => (Thread.CurrentThread.IsThreadPoolThread, Thread.CurrentThread.Name)).WaitAsync(cancellationToken);
        Assert.That((isPools, name), Is.EqualTo((false, "kimi-y")));
        Task<int> failed = OwnThread.Run<int>("kimi-z", () => throw new IOException("The drive fails."));
        Assert.That(async () => await failed.WaitAsync(cancellationToken), Throws.TypeOf<IOException>().With.Message.EqualTo("The drive fails."));
    }

    /// <summary>What <see cref="Thread.Start()"/> throws is no exception that anybody else may make.</summary>
    private sealed class OutOfMemoryExceptionOfThreads : OutOfMemoryException;
}
