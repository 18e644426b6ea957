// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli.Commands;

/// <summary>A dash in a file's place is standard input or output, as with other tools.</summary>
[TestFixture]
internal sealed class DashTests : CommandFixture
{
    private const string Schema = """{"type":"object","properties":{"name":{"type":"string"}},"required":["name"],"additionalProperties":false}""";

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
    [CancelAfter(60_000)]
    public async Task Conversations_come_from_standard_input(string command, string first, string second, string? third = null, string? fourth = null, CancellationToken cancellationToken = default)
    {
        using var kimi = new KimiProcess([command, first, second, .. new[] { third, fourth }.OfType<string>()]);
        await kimi.Input.WriteAsync("""{"messages":[{"role":"user","content":"Hi"}]}""".AsMemory(), cancellationToken);
        kimi.Input.Close();
        Assert.That(await kimi.Output.ReadToEndAsync(cancellationToken), Is.Not.Empty);
        Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(KimiCommand.Ok));
    }

    /// <summary>Opened by its name a file would begin anew, behind the back of what has read of it before.</summary>
    [TestCase("-")]
    [TestCase("/dev/stdin")]
    [Platform(Exclude = "Win", Reason = "There is no shell to redirect with.")]
    [CancelAfter(60_000)]
    public async Task Standard_input_is_read_from_where_it_stands(string dash, CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "conversations");
        await File.WriteAllTextAsync(file, "not JSON\n{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", cancellationToken);
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("/bin/sh", ["-c", "{ read -r first; exec dotnet \"$0\" render \"$1\"; } < \"$2\"", program, dash, file]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process kimi = Process.Start(start)!;
        Task<string> errors = kimi.StandardError.ReadToEndAsync(cancellationToken);
        Assert.That(await kimi.StandardOutput.ReadToEndAsync(cancellationToken), Does.Contain("Hi"), await errors);
    }

    /// <summary>Where standard input is a file its beginning could be read again, and the schema be the question.</summary>
    [TestCase("-")]
    [TestCase("/dev/stdin")]
    [Platform(Exclude = "Win", Reason = "There is no shell to redirect with.")]
    [CancelAfter(60_000)]
    public async Task A_schema_from_standard_input_goes_into_no_prompt(string dash, CancellationToken cancellationToken)
    {
        string file = Path.Combine(Folder, "schema.json");
        await File.WriteAllTextAsync(file, Schema, cancellationToken);
        int alone = PromptTokens((await Run(["generate", "Make a person.", "--schema", file, "--json", "-n", "1"])).Output);
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec dotnet \"$0\" generate \"Make a person.\" --schema \"$1\" --json -n 1 < \"$2\"", program, dash, file]) { RedirectStandardOutput = true };
        using Process kimi = Process.Start(start)!;
        Assert.That(PromptTokens(await kimi.StandardOutput.ReadToEndAsync(cancellationToken)), Is.EqualTo(alone));

        static int PromptTokens(string json) => JsonDocument.Parse(json).RootElement.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
    }

    [Test]
    public async Task Standard_input_is_there_for_one_option()
    {
        Assert.That(
            await Run(["generate", "--schema", "-", "--conversation", "-"], Schema),
            Is.EqualTo((KimiCommand.Usage, "", $"--schema and --conversation would both take standard input, which can be read once: name a file for one of them.{Environment.NewLine}")));
        Assert.That(
            await Run(["generate", "--schema", "-"], Schema),
            Is.EqualTo((KimiCommand.Usage, "", $"There is nothing to answer: PROMPT is missing or empty, and --schema has taken standard input.{Environment.NewLine}")));
    }

    [Test]
    public async Task A_server_reads_its_settings_or_keys_from_standard_input()
    {
        Assert.That((await Run(["serve", "--api-key-file", "-"], "\uFEFF# none yet\n")).Error, Is.EqualTo($"--api-key-file, or Server:ApiKeyFile, takes a file with a key a line; '-' holds none.{Environment.NewLine}"));
        Assert.That((await Run(["serve", "--config", "-"], "[]")).Error, Does.StartWith("'-' is no valid configuration: "));
        Assert.That((await Run(["serve", "--config", "-", "--api-key-file", "-"], "{}")).Error, Does.StartWith("--config and --api-key-file, or Server:ApiKeyFile, would both take standard input"));
    }

    [Test]
    public async Task A_trace_comes_from_standard_input()
    {
        (int code, string output, string error) = await Run(["simulate", "-"], "no trace");
        Assert.That((code, output), Is.EqualTo((KimiCommand.Failed, "")));
        Assert.That(error, Does.StartWith("'standard input': This is no routing trace"));
        string file = Path.Combine(Folder, "a.trace");
        Assert.That((await Run(["trace", "--synthetic", "flat", "-n", "8", "--seed", "1", "-o", file])).Code, Is.EqualTo(KimiCommand.Ok));
        using var source = new CancellationTokenSource();
        using var input = new MemoryStream(await File.ReadAllBytesAsync(file));
        var simulated = new StringWriter();
        Assert.That(await KimiCommand.RunAsync(["simulate", "-"], new CliStreams(input, simulated, TextWriter.Null, IsTerminal: false), source), Is.EqualTo(KimiCommand.Ok));
        Assert.That(simulated.ToString(), Is.EqualTo((await Run(["simulate", file])).Output));
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
