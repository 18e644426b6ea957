// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Compute;

/// <summary>Threads of the library's own. .NET's pool is the application's, whose calls that wait for answers may hold all of it.</summary>
internal static class OwnThread
{
    /// <summary>Starts a thread.</summary>
    /// <param name="thread">It; its name is told where it cannot be started.</param>
    /// <param name="start">Starts it, or throws where the system has none left; null for <see cref="Thread.Start()"/>.</param>
    /// <exception cref="InsufficientMemoryException">The system has none left.</exception>
    public static void Start(Thread thread, Action<Thread>? start = null)
    {
        try
        {
            (start ?? (t => t.Start()))(thread);
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            throw new InsufficientMemoryException($"The system started no thread ({thread.Name}): {e.Message} A higher limit of threads or processes (ulimit -u, a container's pids limit), or more free main memory, helps.", e);
        }
    }

    /// <summary>Does a piece of work on a thread that is made for it.</summary>
    /// <param name="name">Of the thread.</param>
    /// <param name="work">It; what it throws is the task's.</param>
    /// <exception cref="InsufficientMemoryException">The system has no thread left.</exception>
    public static Task<T> Run<T>(string name, Func<T> work)
    {
        var result = new TaskCompletionSource<T>();
        Start(new Thread(() => Complete(result, work)) { IsBackground = true, Name = name });
        return result.Task;
    }

    private static void Complete<T>(TaskCompletionSource<T> result, Func<T> work)
    {
        T done;
        try
        {
            done = work();
        }
        catch (Exception e)
        {
            result.SetException(e);
            return;
        }

        result.SetResult(done);
    }
}
