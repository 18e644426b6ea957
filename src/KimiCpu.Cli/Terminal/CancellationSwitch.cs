// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Cli.Terminal;

/// <summary>Lets Ctrl-C stop what runs, an answer or a save; where nothing does it ends the program as usual, and Ctrl-\ (Ctrl-Break on Windows) does so always.</summary>
internal sealed class CancellationSwitch : IDisposable
{
    private CancellationTokenSource? _current;

    /// <summary>Called before one of the keys ends the program.</summary>
    public Action? BeforeEnd { get; set; }

    public CancellationSwitch() => Console.CancelKeyPress += OnCancel;

    /// <summary>From here on Ctrl-C cancels the returned source.</summary>
    public CancellationTokenSource Begin()
    {
        var source = new CancellationTokenSource();
        Volatile.Write(ref _current, source);
        return source;
    }

    public void End() => Volatile.Write(ref _current, null);

    /// <summary>Stops what runs.</summary>
    /// <returns>Whether anything does.</returns>
    public bool TryStop()
    {
        if (Volatile.Read(ref _current) is not { } source)
        {
            return false;
        }

        try
        {
            source.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It ended in this moment.
            Debug.Assert(Volatile.Read(ref _current) != source, "The source of what runs is alive.");
        }

        return true;
    }

    public void Dispose() => Console.CancelKeyPress -= OnCancel;

    /// <returns>Whether the program goes on.</returns>
    internal bool Press(ConsoleSpecialKey key)
    {
        if (key == ConsoleSpecialKey.ControlC && TryStop())
        {
            return true;
        }

        BeforeEnd?.Invoke();
        return false;
    }

    private void OnCancel(object? sender, ConsoleCancelEventArgs e) => e.Cancel = Press(e.SpecialKey);
}
