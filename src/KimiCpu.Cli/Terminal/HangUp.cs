// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Terminal;

/// <summary>
/// The end of the terminal or connection that a command runs in (SIGHUP), which the parser's library leaves to the system: the command is cancelled as by Ctrl-C, and the signal
/// ends the program where it is not done in its time. With `nohup` the system ignores the signal, and .NET leaves it so.
/// </summary>
internal sealed class HangUp : IDisposable
{
    private readonly CancellationTokenSource _cancellation;
    private readonly TimeSpan _patience;
    private readonly TaskCompletionSource _done = new();
    private readonly PosixSignalRegistration _registration;

    /// <param name="cancellation">Of the command.</param>
    /// <param name="patience">What the command has for its end; <see cref="Timeout.InfiniteTimeSpan"/> for as long as it takes.</param>
    public HangUp(CancellationTokenSource cancellation, TimeSpan patience)
    {
        _cancellation = cancellation;
        _patience = patience;
        _registration = PosixSignalRegistration.Create(PosixSignal.SIGHUP, context => context.Cancel = TryCancel());
    }

    public void Dispose()
    {
        _done.TrySetResult();
        _registration.Dispose();
    }

    /// <summary>What the signal does.</summary>
    /// <returns>Whether the command came to its end, after which the program ends by itself.</returns>
    internal bool TryCancel()
    {
        if (_done.Task.IsCompleted)
        {
            return false;
        }

        // Not on this thread, which has to see when the time is over.
        _ = Task.Run(_cancellation.Cancel);
        return _done.Task.Wait(_patience);
    }
}
