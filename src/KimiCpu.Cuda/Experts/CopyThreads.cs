// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// A few threads that copy pieces of memory together with the one that asks, which the system finds cores for. Neither the workers that compute the CPU's experts
/// meanwhile, since those are tied to their cores and would make their whole pass wait for the one that copies; nor .NET's pool, for the reason that <see cref="WorkThread"/> gives.
/// </summary>
internal sealed class CopyThreads : IDisposable
{
    private readonly List<Thread> _threads = [];
    private readonly SemaphoreSlim _begun = new(0);
    private volatile Job? _job;
    private volatile bool _ends;

    /// <param name="count">Beside the one that asks; 0 for none.</param>
    /// <param name="start">Starts a thread, or throws where the system has none left; null for <see cref="Thread.Start()"/>.</param>
    /// <exception cref="Driver.CudaException">The system has no thread left.</exception>
    public CopyThreads(int count, Action<Thread>? start = null)
    {
        try
        {
            for (int i = 0; i < count; i++)
            {
                var thread = new Thread(Loop) { IsBackground = true, Name = $"kimi-gpu-copy-{i}" };
                WorkThread.Begin(thread, start);
                _threads.Add(thread);
            }
        }
        catch
        {
            // Nobody else could end those that run already.
            Dispose();
            throw;
        }
    }

    /// <summary>Copies all pieces. Used by one thread at a time.</summary>
    /// <param name="pieces">How many.</param>
    /// <param name="copy">Copies one, and throws nothing.</param>
    public void Run(int pieces, Action<int> copy)
    {
        var job = new Job(pieces, copy);
        int helpers = Math.Min(_threads.Count, pieces - 1);
        if (helpers > 0)
        {
            _job = job;
            _begun.Release(helpers);
        }

        job.Help();
        job.Wait();
    }

    public void Dispose()
    {
        _ends = true;
        if (_threads.Count > 0)
        {
            _begun.Release(_threads.Count);
        }

        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _begun.Dispose();
    }

    /// <summary>A thread that comes late finds nothing left to do, or helps with the next job.</summary>
    private void Loop()
    {
        while (true)
        {
            _begun.Wait();
            if (_ends)
            {
                return;
            }

            _job!.Help();
        }
    }

    private sealed class Job(int pieces, Action<int> copy)
    {
        private readonly object _copied = new();
        private int _taken;
        private int _done;

        /// <summary>Copies pieces that nobody else has taken.</summary>
        public void Help()
        {
            for (int piece; (piece = Interlocked.Increment(ref _taken) - 1) < pieces;)
            {
                copy(piece);
                if (Interlocked.Increment(ref _done) == pieces)
                {
                    lock (_copied)
                    {
                        Monitor.PulseAll(_copied);
                    }
                }
            }
        }

        /// <summary>Until those that others have taken are copied too.</summary>
        public void Wait()
        {
            lock (_copied)
            {
                while (Volatile.Read(ref _done) < pieces)
                {
                    Monitor.Wait(_copied);
                }
            }
        }
    }
}
