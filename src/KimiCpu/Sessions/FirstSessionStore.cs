// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Compute;

namespace KimiCpu.Sessions;

/// <summary>
/// The store of a model's sessions, made when somebody first saves or loads one, since telling models apart takes a look at all of their files. It is made
/// once, by a thread of its own: calls go on meanwhile, and who cancels waits neither for a step nor for a drive. A file that cannot be read
/// now may be there later, so no failure is kept. Safe for all threads.
/// </summary>
/// <param name="make">Makes it; where the model is disposed of meanwhile it fails with an <see cref="ObjectDisposedException"/>.</param>
internal sealed class FirstSessionStore(Func<SessionStore> make)
{
    private readonly object _gate = new();
    private Task<SessionStore>? _made;

    public SessionStore Get(CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return Made().WaitAsync(cancellationToken).GetAwaiter().GetResult();
    }

    private Task<SessionStore> Made()
    {
        lock (_gate)
        {
            if (_made is null or { IsFaulted: true })
            {
                _made = OwnThread.Run("kimi-sessions", make);

                // Who asked may have gone away.
                _made.ContinueWith(m => _ = m.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            }

            return _made;
        }
    }
}
