// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;
using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>What other threads want done with the cache, in order; the engine's thread does it between steps. Safe for all threads.</summary>
/// <param name="recover">Called on the engine's thread when the cache's device fails; gives what to tell the caller.</param>
internal sealed class CacheCalls(Func<DeviceException, KimiException> recover)
{
    private readonly object _gate = new();
    private readonly Queue<Action<KvCache?>> _calls = new();
    private bool _ended;

    public bool Any
    {
        get
        {
            lock (_gate)
            {
                return _calls.Count > 0;
            }
        }
    }

    /// <exception cref="ObjectDisposedException">The engine has ended.</exception>
    public Task<T> Add<T>(Func<KvCache, T> use)
    {
        var outcome = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        bool added = TryAdd(cache =>
        {
            try
            {
                ObjectDisposedException.ThrowIf(cache is null, typeof(KimiModel));
                outcome.SetResult(use(cache));
            }
            catch (Exception e)
            {
                outcome.SetException(e is DeviceException failure ? recover(failure) : e);

                // Who asked may have gone away.
                _ = outcome.Task.Exception;
            }
        });
        ObjectDisposedException.ThrowIf(!added, typeof(KimiModel));
        return outcome.Task;
    }

    /// <summary>Adds what needs no answer; once the engine has ended there is nothing to be done.</summary>
    public void Post(Action<KvCache> use) => TryAdd(cache =>
    {
        if (cache is not null)
        {
            use(cache);
        }
    });

    /// <param name="cache">The one to be used now; a call at which its device fails may be followed by another one.</param>
    public void Run(Func<KvCache> cache)
    {
        while (Next() is { } call)
        {
            call(cache());
        }
    }

    /// <summary>Fails what is waiting and refuses the rest.</summary>
    public void End()
    {
        lock (_gate)
        {
            _ended = true;
        }

        while (Next() is { } call)
        {
            call(null);
        }
    }

    private bool TryAdd(Action<KvCache?> call)
    {
        lock (_gate)
        {
            if (!_ended)
            {
                _calls.Enqueue(call);
            }

            return !_ended;
        }
    }

    private Action<KvCache?>? Next()
    {
        lock (_gate)
        {
            return _calls.TryDequeue(out Action<KvCache?>? call) ? call : null;
        }
    }
}
