// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Tests.Cli;

/// <summary>The program itself in a process of its own, since a signal reaches all of it. Not on Windows.</summary>
internal sealed class KimiProcess : IDisposable
{
    private readonly Process _process;

    public KimiProcess(params string[] args)
        : this([], args)
    {
    }

    /// <param name="variables">Of its environment, beside those of this process.</param>
    /// <param name="args">Of the command line.</param>
    public KimiProcess((string Name, string Value)[] variables, string[] args)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("dotnet", [program, .. args]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in variables)
        {
            start.Environment[name] = value;
        }

        try
        {
            _process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e) when (OperatingSystem.IsWindows())
        {
            Assert.Ignore($"No dotnet that could start kimi, as where these tests are published with their runtime: {e.Message}");
            throw;
        }
    }

    public StreamWriter Input => _process.StandardInput;

    public StreamReader Output => _process.StandardOutput;

    public StreamReader Error => _process.StandardError;

    /// <summary>As Ctrl-C does.</summary>
    public void Interrupt() => Send(Signals.Interruption);

    /// <param name="signal">By its number: 2 as Ctrl-C does, 15 as systemd and Docker do, 1 as a terminal that goes away.</param>
    public void Send(int signal)
    {
        if (signal == Signals.HangUp && IgnoresHangUp())
        {
            Assert.Ignore("These tests run where a terminal's end is ignored, as under nohup, and so does what they start.");
        }

        Signals.Send(_process, signal);
    }

    /// <returns>The exit code.</returns>
    public async Task<int> WaitAsync(CancellationToken cancellationToken)
    {
        await _process.WaitForExitAsync(cancellationToken);
        return _process.ExitCode;
    }

    public void Dispose()
    {
        _process.Kill();
        _process.Dispose();
    }

    /// <summary>A process inherits that, and .NET changes nothing about it.</summary>
    private bool IgnoresHangUp()
    {
        const string Ignored = "SigIgn:";
        string status = $"/proc/{_process.Id}/status";
        return File.Exists(status)
            && (Convert.ToUInt64(File.ReadLines(status).Single(l => l.StartsWith(Ignored, StringComparison.Ordinal))[Ignored.Length..].Trim(), 16) & (1UL << (Signals.HangUp - 1))) != 0;
    }
}
