// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Tests.Server.Node;

/// <summary>Runs <c>node</c> and <c>npm</c> of this machine to their end.</summary>
internal static class NodeProcess
{
    /// <summary>A program of the PATH; null where there is none.</summary>
    /// <param name="name">Without the ending that Windows gives it.</param>
    public static string? Find(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
        .SelectMany(folder => (string[])(OperatingSystem.IsWindows() ? [$"{name}.exe", $"{name}.cmd"] : [name]), Path.Combine)
        .FirstOrDefault(File.Exists);

    /// <returns>Its exit code, null where it did not end in time and was ended; and what it wrote.</returns>
    public static async Task<(int? ExitCode, string Output, string Error)> RunAsync(string program, string folder, TimeSpan limit, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string name in start.Environment.Keys.Where(n => n.StartsWith("OPENAI_", StringComparison.Ordinal) || n.StartsWith("ANTHROPIC_", StringComparison.Ordinal)).ToArray())
        {
            // The clients take settings from there, which would be those of whoever runs the tests.
            start.Environment.Remove(name);
        }

        using Process process = Process.Start(start)!;
        using var timeout = new CancellationTokenSource(limit);
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        int? exitCode = null;
        try
        {
            await process.WaitForExitAsync(timeout.Token);
            exitCode = process.ExitCode;
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
        }

        return (exitCode, await output, await error);
    }
}
