// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Cuda.Driver;

namespace KimiCpu.Cuda.Experts;

/// <summary>
/// A thread that does one piece of work at a time for the one that owns it. Not one of .NET's pool: an application's calls that wait for answers may hold all of these, and
/// answers must not wait for them.
/// </summary>
internal sealed class WorkThread : IDisposable
{
    private readonly Thread _thread;
    private readonly SemaphoreSlim _begun = new(0);
    private readonly SemaphoreSlim _done = new(0);
    private Action? _work;
    private Exception? _failure;

    /// <param name="name">For debuggers.</param>
    /// <exception cref="CudaException">The system has no thread left.</exception>
    public WorkThread(string name)
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = name };
        Begin(_thread, start: null);
    }

    /// <summary>Whether there is work that nobody has waited for.</summary>
    public bool IsBusy { get; private set; }

    /// <summary>Whether there is work that is not done yet.</summary>
    public bool IsWorking => IsBusy && _done.CurrentCount == 0;

    /// <summary>Starts a thread of the GPU's, without which it cannot be used; the CPU can.</summary>
    /// <param name="thread">Which one.</param>
    /// <param name="start">Starts it, or throws where the system has none left; null for <see cref="Thread.Start()"/>.</param>
    /// <exception cref="CudaException">The system has none left.</exception>
    public static void Begin(Thread thread, Action<Thread>? start)
    {
        try
        {
            OwnThread.Start(thread, start);
        }
        catch (InsufficientMemoryException e)
        {
            throw new CudaException($"The GPU needs a thread of its own. {e.Message}");
        }
    }

    /// <summary>Begins a piece of work; the one before has been waited for.</summary>
    public void Start(Action work)
    {
        IsBusy = true;
        _work = work;
        _begun.Release();
    }

    /// <summary>Waits for the work that was begun.</summary>
    /// <returns>What it threw; null for nothing.</returns>
    public Exception? Wait()
    {
        _done.Wait();
        IsBusy = false;
        return _failure;
    }

    /// <summary>Waits for the work that was begun, so long at most.</summary>
    /// <param name="patience">So long.</param>
    /// <param name="failure">What it threw; null for nothing, or where it is not done.</param>
    /// <returns>Whether it is done.</returns>
    public bool TryWait(TimeSpan patience, out Exception? failure)
    {
        bool isDone = _done.Wait(patience);
        (IsBusy, failure) = (!isDone, isDone ? _failure : null);
        return isDone;
    }

    /// <summary>Ends the thread when its work is done.</summary>
    /// <param name="patience">How long that is waited for. A thread whose work takes longer is left behind: it ends by itself as soon as it can, and must touch nothing until then that is given back now.</param>
    public void End(TimeSpan patience)
    {
        bool isDone = !IsBusy || _done.Wait(patience);
        _work = null;
        _begun.Release();
        if (isDone)
        {
            _thread.Join();

            // One that was left behind still uses them.
            _begun.Dispose();
            _done.Dispose();
        }
    }

    public void Dispose() => End(Timeout.InfiniteTimeSpan);

    private void Loop()
    {
        while (true)
        {
            _begun.Wait();
            if (_work is not { } work)
            {
                return;
            }

            try
            {
                _failure = null;
                work();
            }
            catch (Exception e)
            {
                _failure = e;
            }

            _done.Release();
        }
    }
}
