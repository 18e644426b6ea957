// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text;

namespace KimiCpu.Tests.Cli;

/// <summary>The program at a terminal, which `script` makes: keys that are typed there act as keys. On Linux only; elsewhere `script` is another program, or none.</summary>
internal sealed class KimiTerminal : IDisposable
{
    private readonly Process _script;

    /// <param name="term">Of the terminal, which says what it can do.</param>
    /// <param name="args">Of the command line; none has quotes.</param>
    public KimiTerminal(string term, params string[] args)
        : this(term, $"exec {CommandLine(args)}")
    {
        // A key would end a shell that waits for the program.
    }

    private KimiTerminal(string term, string commands)
    {
        // The first is what terminals of containers are like; a program that Ctrl-\ ends would leave its memory.
        string command = $"stty -iutf8; ulimit -c 0; {commands}";
        var start = new ProcessStartInfo("script", ["--quiet", "--return", "--command", command, "/dev/null"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            StandardInputEncoding = new UTF8Encoding(false),
            StandardOutputEncoding = new UTF8Encoding(false),
        };
        start.Environment["TERM"] = term;

        // Services may have one that runs nothing.
        start.Environment["SHELL"] = "/bin/sh";
        _script = Process.Start(start)!;
    }

    /// <summary>A terminal that shows how the program has left it, at a Ctrl-C as well.</summary>
    /// <param name="args">Of the command line; none has quotes.</param>
    public static KimiTerminal WithSettingsAtEnd(params string[] args) => new("dumb", commands: $"trap : INT; {CommandLine(args)}; stty -a");

    public async Task TypeAsync(string keys, CancellationToken cancellationToken)
    {
        await _script.StandardInput.WriteAsync(keys.AsMemory(), cancellationToken);
        await _script.StandardInput.FlushAsync(cancellationToken);
    }

    /// <returns>All that the terminal has shown since the last reading.</returns>
    public async Task<string> ReadUntilAsync(string text, CancellationToken cancellationToken)
    {
        var said = new StringBuilder();
        var next = new char[1];
        while (!said.ToString().EndsWith(text, StringComparison.Ordinal))
        {
            Assert.That(await _script.StandardOutput.ReadAsync(next, cancellationToken), Is.Positive, said.ToString());
            said.Append(next);
        }

        return said.ToString();
    }

    /// <returns>What the terminal has shown since then, and the program's exit code.</returns>
    public async Task<(string Output, int Code)> EndAsync(CancellationToken cancellationToken)
    {
        string output = await _script.StandardOutput.ReadToEndAsync(cancellationToken);
        await _script.WaitForExitAsync(cancellationToken);
        return (output, _script.ExitCode);
    }

    private static string CommandLine(string[] args) => $"dotnet '{Path.Combine(AppContext.BaseDirectory, "kimi.dll")}' {string.Join(' ', args.Select(a => $"'{a}'"))}";

    public void Dispose()
    {
        _script.Kill(entireProcessTree: true);
        _script.Dispose();
    }
}
