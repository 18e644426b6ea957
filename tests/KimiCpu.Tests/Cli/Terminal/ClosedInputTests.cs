// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;

namespace KimiCpu.Tests.Cli.Terminal;

[TestFixture]
internal sealed class ClosedInputTests
{
    /// <summary>A prompt, beside which what is piped in is read, and a text that is piped in alone.</summary>
    [TestCase("generate", "ROMEO:", "-n", "1", "--ignore-eos", "--raw")]
    [TestCase("tokenize")]
    [CancelAfter(60_000)]
    public async Task A_program_without_a_standard_input_has_an_empty_one(params string[] args)
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Linux tells what a descriptor is.");
        }

        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" \"$@\" <&-", "dotnet", program, .. args]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process kimi = Process.Start(start)!;
        Task<string> output = kimi.StandardOutput.ReadToEndAsync(), errors = kimi.StandardError.ReadToEndAsync();
        try
        {
            await kimi.WaitForExitAsync(TestContext.CurrentContext.CancellationToken);
        }
        finally
        {
            kimi.Kill(entireProcessTree: true);
        }

        Assert.That(await errors, Does.Not.Contain("Waiting"));
        Assert.That(kimi.ExitCode, Is.Zero, await output);
    }
}
