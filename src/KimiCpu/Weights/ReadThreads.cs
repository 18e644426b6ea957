// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Compute;

namespace KimiCpu.Weights;

/// <summary>
/// Threads for reads that a silent drive may hold for ever: as many as reads are under way at once, each for one read after another, since a model has hundreds of small ones. Safe for
/// several threads.
/// </summary>
internal sealed class ReadThreads : IDisposable
{
    private readonly BlockingCollection<Action> _reads = [];

    /// <summary>Threads without a read, less reads without a thread.</summary>
    private int _free;

    /// <summary>Begins a read.</summary>
    /// <param name="read">It; what it throws is the task's.</param>
    /// <exception cref="InsufficientMemoryException">The system has no thread left.</exception>
    public Task<T> Run<T>(Func<T> read)
    {
        var result = new TaskCompletionSource<T>();
        _reads.Add(() => Complete(result, read));
        if (Interlocked.Decrement(ref _free) < 0)
        {
            OwnThread.Start(new Thread(Loop) { IsBackground = true, Name = "kimi-read" });
            Interlocked.Increment(ref _free);
        }

        return result.Task;
    }

    /// <summary>Ends the threads, one whose read is still under way behind that.</summary>
    public void Dispose() => _reads.CompleteAdding();

    private void Loop()
    {
        foreach (Action read in _reads.GetConsumingEnumerable())
        {
            read();
        }
    }

    private void Complete<T>(TaskCompletionSource<T> result, Func<T> read)
    {
        T done;
        try
        {
            done = read();
        }
        catch (Exception e)
        {
            Interlocked.Increment(ref _free);
            result.SetException(e);
            return;
        }

        // Whoever waits may begin the next read at once, and finds the thread free.
        Interlocked.Increment(ref _free);
        result.SetResult(done);
    }
}
