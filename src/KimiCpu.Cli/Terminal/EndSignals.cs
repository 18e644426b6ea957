// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Runtime.InteropServices;

namespace KimiCpu.Cli.Terminal;

/// <summary>The signals that end a program whose machine or service stops (SIGTERM) or whose terminal is closed (SIGHUP).</summary>
internal sealed class EndSignals : IDisposable
{
    private readonly PosixSignalRegistration[] _registrations;

    /// <param name="beforeEnd">Called on a thread of its own; the signal ends the program afterwards.</param>
    public EndSignals(Action beforeEnd) =>
        _registrations = [.. new[] { PosixSignal.SIGTERM, PosixSignal.SIGHUP }.Select(s => PosixSignalRegistration.Create(s, _ => beforeEnd()))];

    public void Dispose() => Array.ForEach(_registrations, r => r.Dispose());
}
