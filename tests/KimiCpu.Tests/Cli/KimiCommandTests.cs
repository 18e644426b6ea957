// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;
using KimiCpu.Tests.Model;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class KimiCommandTests : CommandFixture
{
    [Test]
    public async Task Generate_and_chat_take_copies_of_8_bits()
    {
        string answer = "The capital of France is Paris." + Environment.NewLine;
        Assert.That(await Run(["generate", "--int8-hot-path", "What is the capital of France?", "--temperature", "0"]), Is.EqualTo((0, answer, "")));
        var error = new StringWriter();
        using var source = new CancellationTokenSource();
        using var input = new MemoryStream("/exit\n"u8.ToArray());
        Assert.That(await KimiCommand.RunAsync(["chat", "--int8-hot-path"], new CliStreams(input, TextWriter.Null, error, IsTerminal: true), source), Is.Zero);
        Assert.That(error.ToString(), Does.Contain("copied to 8 bits").And.Contain("Opening: copies 7 of 7"));
    }

    [Test]
    public async Task Logits_agree_with_the_reference([Values] bool all)
    {
        Golden golden = Golden.Load("tiny-int4").Single(g => g.Name == "short");
        string file = Path.Combine(Folder, "out.f32");
        (int code, string output, _) = await Run(["logits", "--model", Repository.Checkpoint("tiny-int4"), "--tokens", string.Join(',', golden.Tokens), "--exact", "--out", file, .. all ? new[] { "--all" } : []]);
        Assert.That(code, Is.Zero);
        float[] logits = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray();
        float[] expected = all ? golden.Logits : golden.Logits[^512..];
        Assert.That(Agreement.Of(expected, logits, 512).MaxDifferenceOverMaxLogit, Is.LessThanOrEqualTo(1e-5));
        Assert.That(output, Does.Contain(all ? "7 x 512" : "1 x 512"));
        Assert.That(Directory.GetFiles(Folder), Has.Length.EqualTo(1), "nothing unfinished is left");
    }

    [Test]
    public async Task Inspect_and_verify_tell_about_a_whole_checkpoint()
    {
        (int code, string output, _) = await Run(["inspect", Repository.Checkpoint("tiny-k25")]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("INT4 g32").And.Contain("kimi_k25").And.Contain("RoutedExperts"));
        (code, output, _) = await Run(["inspect", Repository.Checkpoint("tiny-fp8"), "--json"]);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("routed_experts").GetInt32(), Is.EqualTo(12));
        (code, output, _) = await Run(["verify", Repository.NanoModel]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("Whole"));
    }

    [Test]
    public async Task Verify_names_the_files_to_fetch_again()
    {
        foreach (string file in Directory.GetFiles(Repository.Checkpoint("tiny-bf16")))
        {
            File.Copy(file, Path.Combine(Folder, Path.GetFileName(file)));
        }

        File.Delete(Path.Combine(Folder, "model-00001-of-00003.safetensors"));
        File.WriteAllText(Path.Combine(Folder, "tiktoken.model"), "nonsense");
        (int code, string output, _) = await Run(["verify", Folder]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        Assert.That(output, Does.Contain("Delete and fetch again: tiktoken.model").And.Contain("Fetch: model-00001-of-00003.safetensors"));
        (code, output, _) = await Run(["verify", Folder, "--json"]);
        Assert.That(code, Is.EqualTo(KimiCommand.Failed));
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("fetch_again").GetArrayLength(), Is.EqualTo(2));
    }

    [Test]
    public async Task Cancellation_has_a_code_of_its_own()
    {
        using var source = new CancellationTokenSource();
        await source.CancelAsync();
        var error = new StringWriter();
        var streams = new CliStreams(Stream.Null, TextWriter.Null, error, false);
        Assert.That(await KimiCommand.RunAsync(["generate", "hi"], streams, source), Is.EqualTo(KimiCommand.Cancelled));
        Assert.That(error.ToString(), Does.Contain("Cancelled"));
    }

    /// <summary>As behind a terminal that has been closed: the process would be aborted, and its memory written to a drive.</summary>
    [TestCase(KimiCommand.Failed, "inspect", "/does/not/exist")]
    [TestCase(KimiCommand.Usage, "generate", "--threads", "0", "hi")]
    public async Task An_error_that_cannot_be_told_has_its_code(int code, params string[] args)
    {
        using var source = new CancellationTokenSource();
        Assert.That(await KimiCommand.RunAsync(args, new CliStreams(Stream.Null, TextWriter.Null, new ClosedWriter(), IsTerminal: true), source), Is.EqualTo(code));
    }

    [Test]
    public async Task Every_command_and_option_has_a_help_text()
    {
        RootCommand root = KimiCommand.MakeRoot(new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, false));
        Assert.That(root.Subcommands, Has.Count.EqualTo(13));
        foreach (Command command in root.Subcommands)
        {
            Assert.That(command.Description, Is.Not.Empty);
            Assert.That(command.Options.Select(o => o.Description), Is.All.Not.Empty.And.All.Not.Null, command.Name);
            Assert.That(command.Arguments.Select(a => a.Description), Is.All.Not.Empty, command.Name);
            Assert.That((await Run([command.Name, "--help"])).Code, Is.Zero);
        }
    }
}
