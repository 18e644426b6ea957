// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// The tokens that a session keeps in the cache. The engine's thread renews them when a call of the session ends; everything
/// here may be called from any thread, and nothing waits for a step.
/// </summary>
internal sealed class SessionState : IDisposable
{
    private readonly GenerationEngine _engine;
    private readonly object _gate = new();
    private HeldPrefix? _held;
    private bool _disposed;

    /// <param name="engine">Whose thread owns the cache.</param>
    public SessionState(GenerationEngine engine)
        : this(engine, null)
    {
    }

    /// <param name="engine">Whose thread owns the cache.</param>
    /// <param name="prefix">Held; the session releases it.</param>
    public SessionState(GenerationEngine engine, KvPrefix prefix)
        : this(engine, new HeldPrefix(engine, prefix))
    {
    }

    private SessionState(GenerationEngine engine, HeldPrefix? held) => (_engine, _held) = (engine, held);

    /// <summary>Tokens in the cache.</summary>
    public int Length => Held?.Length ?? 0;

    /// <summary>The tokens as they are now, null where there are none. Its pages are for the engine's thread, which alone releases them.</summary>
    public KvPrefix? Held
    {
        get
        {
            lock (_gate)
            {
                return _held?.Prefix;
            }
        }
    }

    /// <summary>Goes on from other tokens.</summary>
    /// <param name="prefix">Held; the session releases it.</param>
    public void Renew(KvPrefix prefix)
    {
        HeldPrefix? leaving = new HeldPrefix(_engine, prefix);
        lock (_gate)
        {
            if (!_disposed)
            {
                (leaving, _held) = (_held, leaving);
            }
        }

        leaving?.Release();
    }

    /// <summary>A state of its own with the same tokens; nothing is copied.</summary>
    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public SessionState Branch() => new(_engine, Share());

    /// <summary>The tokens as they are now, kept until released; null where there are none.</summary>
    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public HeldPrefix? Share()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(KimiSession));
            _held?.Share();
            return _held;
        }
    }

    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public void ThrowIfDisposed()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(KimiSession));
        }
    }

    public void Dispose()
    {
        HeldPrefix? leaving;
        lock (_gate)
        {
            _disposed = true;
            (leaving, _held) = (_held, null);
        }

        leaving?.Release();
    }
}

/// <summary>A prefix with as many owners as share it; the last one's release reaches the engine's thread.</summary>
internal sealed class HeldPrefix(GenerationEngine engine, KvPrefix prefix)
{
    private int _owners = 1;

    public KvPrefix Prefix => prefix;

    /// <summary>Adds an owner; called by one.</summary>
    public void Share() => Interlocked.Increment(ref _owners);

    public void Release()
    {
        if (Interlocked.Decrement(ref _owners) == 0)
        {
            engine.PostToCache(cache => cache.Release(prefix));
        }
    }
}
