// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Cli;

namespace KimiCpu.Tests.Cli.Commands;

/// <summary>A dash in a file's place is standard input or output, as with other tools.</summary>
[TestFixture]
internal sealed class DashTests : CommandFixture
{
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no file of standard output there.")]
    [CancelAfter(60_000)]
    public async Task Logits_go_to_standard_output(CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess("logits", "--tokens", "1,2", "-o", "-");
        using var rows = new MemoryStream();
        await kimi.Output.BaseStream.CopyToAsync(rows, cancellationToken);
        Assert.That(await kimi.Error.ReadToEndAsync(cancellationToken), Does.StartWith($"1 x {rows.Length / sizeof(float)} float32 in /dev/stdout{Environment.NewLine}"));
        Assert.That((await kimi.WaitAsync(cancellationToken), rows.Length), Is.EqualTo((KimiCommand.Ok, rows.Length)));
        Assert.That(rows.Length, Is.Positive);
        Assert.That(new FileInfo("-"), Does.Not.Exist);
    }

    /// <summary>A new file would take its place.</summary>
    [Test]
    [Platform(Exclude = "Win", Reason = "There is no file of standard output there.")]
    [CancelAfter(60_000)]
    public async Task A_file_that_standard_output_goes_to_is_not_replaced(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("kimicpu").FullName;
        try
        {
            string file = Path.Combine(folder, "all.bin");
            await File.WriteAllTextAsync(file, "before", cancellationToken);
            string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
            var start = new ProcessStartInfo("/bin/sh", ["-c", "exec dotnet \"$0\" logits --tokens 1,2 -o - >> \"$1\"", program, file]) { RedirectStandardError = true };
            using Process kimi = Process.Start(start)!;
            string error = await kimi.StandardError.ReadToEndAsync(cancellationToken);
            await kimi.WaitForExitAsync(cancellationToken);
            Assert.That((kimi.ExitCode, error), Is.EqualTo((KimiCommand.Usage, $"--out takes a file here, and not '-' for standard output; './-' is a file of that name.{Environment.NewLine}")));
            Assert.That(await File.ReadAllTextAsync(file, cancellationToken), Is.EqualTo("before"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [TestCase("render", "-", "--no-generation-prompt")]
    [TestCase("generate", "--conversation", "-", "-n", "1")]
    [Platform(Exclude = "Win", Reason = "There is no file of standard input there.")]
    [CancelAfter(60_000)]
    public async Task Conversations_come_from_standard_input(string command, string first, string second, string? third = null, string? fourth = null, CancellationToken cancellationToken = default)
    {
        using var kimi = new KimiProcess([command, first, second, .. new[] { third, fourth }.OfType<string>()]);
        await kimi.Input.WriteAsync("""{"messages":[{"role":"user","content":"Hi"}]}""".AsMemory(), cancellationToken);
        kimi.Input.Close();
        Assert.That(await kimi.Output.ReadToEndAsync(cancellationToken), Is.Not.Empty);
        Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(KimiCommand.Ok));
    }

    /// <summary>What they say beside it goes to standard output, or they are read again.</summary>
    [TestCase("--chart", "simulate", "x.trace", "--chart", "-")]
    [TestCase("--chart", "plan", "--chart", "-")]
    [TestCase("--session", "chat", "--session", "-")]
    public async Task Where_there_must_be_a_file_no_file_gets_that_name(string option, params string[] args)
    {
        Assert.That(await Run(args), Is.EqualTo((KimiCommand.Usage, "", $"{option} takes a file here, and not '-' for standard output; './-' is a file of that name.{Environment.NewLine}")));
        Assert.That(new FileInfo("-"), Does.Not.Exist);
    }
}
