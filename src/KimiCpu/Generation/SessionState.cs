// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Model;

namespace KimiCpu.Generation;

/// <summary>
/// The tokens that a session keeps, and their pages in a cache, as long as that is the engine's. The engine's thread renews them when a call of the session ends, and cuts them where
/// that call finds no other room; everything else may be called from any thread, and nothing waits for a step.
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
    /// <param name="cache">Where it is held; null for tokens that are in none and have to be computed.</param>
    /// <param name="prefix">The session releases it.</param>
    public SessionState(GenerationEngine engine, KvCache? cache, KvPrefix prefix)
        : this(engine, new HeldPrefix(engine, cache, prefix))
    {
    }

    private SessionState(GenerationEngine engine, HeldPrefix? held) => (_engine, _held) = (engine, held);

    /// <summary>Tokens that are kept.</summary>
    public int Length
    {
        get
        {
            lock (_gate)
            {
                return _held?.Prefix.Length ?? 0;
            }
        }
    }

    /// <summary>The tokens as they are now, null where there are none in the cache. Its pages are for the engine's thread, which alone releases them.</summary>
    public KvPrefix? HeldIn(KvCache cache)
    {
        lock (_gate)
        {
            return _held is not null && _held.IsIn(cache) ? _held.Prefix : null;
        }
    }

    /// <summary>Takes the same tokens from another cache, where they have not been renewed meanwhile.</summary>
    /// <param name="lost">What the session kept.</param>
    /// <param name="found">What it keeps from here on; it becomes an owner of it.</param>
    public void Replace(HeldPrefix lost, HeldPrefix found)
    {
        lock (_gate)
        {
            if (_held != lost)
            {
                return;
            }

            found.Share(toSave: false);
            _held = found;
        }

        lost.Release();
    }

    /// <summary>Goes on from other tokens.</summary>
    /// <param name="cache">Where it is held.</param>
    /// <param name="prefix">The session releases it.</param>
    public void Renew(KvCache cache, KvPrefix prefix)
    {
        HeldPrefix? leaving = new HeldPrefix(_engine, cache, prefix);
        lock (_gate)
        {
            if (!_disposed)
            {
                (leaving, _held) = (_held, leaving);
            }
        }

        leaving?.Release();
    }

    /// <summary>
    /// Gives up what does not lead to a page, where nobody else keeps it and enough pages become free of it: at once, since it is the engine's thread that calls this, or when those
    /// who save the session have done so.
    /// </summary>
    /// <param name="cache">The engine's.</param>
    /// <param name="page">Of a text that is to take the place of this one.</param>
    /// <param name="missing">Pages that have to become free, at least one.</param>
    /// <returns>False, with nothing changed, where that is not so.</returns>
    public bool TryCut(KvCache cache, CachedPage page, int missing)
    {
        HeldPrefix leaving;
        lock (_gate)
        {
            if (_held is null || !_held.IsIn(cache) || !_held.IsOfOneSession)
            {
                return false;
            }

            CachedPage fork = _held.Prefix.Fork(page);
            if (_held.Prefix.HeldAloneBehind(fork) < missing)
            {
                return false;
            }

            (leaving, _held) = (_held, new HeldPrefix(_engine, cache, cache.Hold(fork)));
        }

        leaving.ReleaseHere();
        return true;
    }

    /// <summary>A state of its own with the same tokens; nothing is copied.</summary>
    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public SessionState Branch() => new(_engine, Share(toSave: false));

    /// <summary>The tokens as they are now, kept until released; null where there are none.</summary>
    /// <param name="toSave">See <see cref="HeldPrefix.Share"/>.</param>
    /// <exception cref="ObjectDisposedException">The session is disposed.</exception>
    public HeldPrefix? Share(bool toSave)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, typeof(KimiSession));
            _held?.Share(toSave);
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

/// <summary>
/// A prefix with as many owners as share it; the last one's release is done on the engine's thread. Where none is left but those that save it, the engine knows
/// that its pages will be free.
/// </summary>
/// <param name="engine">Whose thread owns the cache.</param>
/// <param name="cache">Where it is held; null for tokens that are in none.</param>
/// <param name="prefix">What is held.</param>
internal sealed class HeldPrefix(GenerationEngine engine, KvCache? cache, KvPrefix prefix)
{
    private readonly object _gate = new();
    private int _owners = 1;
    private int _saving;

    public KvPrefix Prefix => prefix;

    /// <summary>Whether its pages are in this cache; those of an earlier one went with its device.</summary>
    public bool IsIn(KvCache other) => cache == other;

    /// <summary>Whether only one owner keeps it for longer than a save takes.</summary>
    public bool IsOfOneSession
    {
        get
        {
            lock (_gate)
            {
                return _owners - _saving == 1;
            }
        }
    }

    /// <summary>Adds an owner; called by one.</summary>
    /// <param name="toSave">Whether it gives the prefix up as soon as that is saved.</param>
    public void Share(bool toSave) => Change(1, toSave);

    /// <param name="saved">What the owner came with.</param>
    public void Release(bool saved = false) => Change(-1, saved);

    /// <summary>As <see cref="Release"/>, on the engine's thread: the pages of the last owner are free when this returns.</summary>
    public void ReleaseHere() => Change(-1, saving: false, onEngine: true);

    private void Change(int owners, bool saving, bool onEngine = false)
    {
        lock (_gate)
        {
            bool wasLeaving = _saving > 0 && _saving == _owners;
            _owners += owners;
            _saving += saving ? owners : 0;
            bool isLeaving = _saving > 0 && _saving == _owners;
            if (_owners == 0 && cache is not null)
            {
                if (onEngine)
                {
                    cache.Release(prefix);
                }
                else
                {
                    engine.PostToCache(_ => cache.Release(prefix));
                }
            }

            if (wasLeaving != isLeaving)
            {
                // Only now, when the engine will come to the release before it believes that there is none; and in the order of the changes, or an end that is
                // noted before its beginning would hide another one's pages.
                engine.NotePassing(isLeaving ? 1 : -1);
            }
        }
    }
}
