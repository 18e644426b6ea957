// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using KimiCpu.Checkpoints;
using KimiCpu.Cli;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Routing;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary>What Ctrl-C and the signal to end do to commands that work for long: they take away what they have begun, keep what is finished, and say so.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
[Platform(Exclude = "Win", Reason = "There is no signal to send.")]
internal sealed partial class InterruptionTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    [CancelAfter(180_000)]
    public async Task A_repack_keeps_what_is_finished_and_leaves_nothing_else([Values(2, 15)] int signal, CancellationToken cancellationToken)
    {
        // Many files, so that the run is far from its end when the first of them is told.
        var silent = new CliStreams(Stream.Null, TextWriter.Null, TextWriter.Null, IsTerminal: false);
        string source = SyntheticCheckpoint.Prepare(BenchShape.Parse("nano,layers=48,experts=64"), _folder, silent, cancellationToken);
        string target = Path.Combine(_folder, "target");
        using (var kimi = new KimiProcess("repack", source, target, "--force"))
        {
            Assert.That(await kimi.Error.ReadLineAsync(cancellationToken), Does.Contain(" (1 of "));
            kimi.Send(signal);
            string said = await kimi.Error.ReadToEndAsync(cancellationToken);
            Assert.That((await kimi.WaitAsync(cancellationToken), said), Is.EqualTo((KimiCommand.Cancelled, said)));
            Assert.That(said, Does.EndWith($"Finished files stay; the same command goes on with the others.{Environment.NewLine}Cancelled.{Environment.NewLine}"));
        }

        string[] left = [.. Directory.GetFiles(target).Select(f => Path.GetFileName(f))];
        Assert.That(left, Has.Some.EndsWith(".safetensors"));
        Assert.That(left, Has.None.EndsWith(".unfinished"));
        Assert.That(left, Has.None.EndsWith(".lock"));
        Assert.That(left, Has.None.EqualTo(ShardIndex.File), "the index is written last");
    }

    /// <summary>It reads from a pipe into which nobody writes.</summary>
    [TestCase("simulate")]
    [TestCase("generate", "--conversation")]
    [CancelAfter(60_000)]
    public async Task A_step_that_cannot_be_cancelled_ends_with_the_program(string command, string? option = null, CancellationToken cancellationToken = default)
    {
        string pipe = await MakePipeAsync("pipe", cancellationToken);
        using var kimi = new KimiProcess([command, .. option is null ? Array.Empty<string>() : [option], pipe]);

        // The system opens it once there is a reader.
        await using FileStream writer = await Task.Run(() => new FileStream(pipe, FileMode.Open, FileAccess.Write), CancellationToken.None).WaitAsync(cancellationToken);
        kimi.Interrupt();
        Assert.That(await kimi.WaitAsync(cancellationToken), Is.EqualTo(KimiCommand.Cancelled));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_text_that_is_not_typed_to_its_end_is_not_waited_for([Values("generate", "trace", "tokenize")] string command, CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess([command, .. command == "trace" ? new[] { "--output", Path.Combine(_folder, "a.trace") } : []]);

        // More than a pipe holds, so that it is being read.
        await kimi.Input.WriteAsync(new string('x', 1 << 20).AsMemory(), cancellationToken);
        kimi.Interrupt();
        Assert.That((await kimi.WaitAsync(cancellationToken), await kimi.Error.ReadToEndAsync(cancellationToken)), Is.EqualTo((KimiCommand.Cancelled, "Cancelled." + Environment.NewLine)));
    }

    [Test]
    [CancelAfter(180_000)]
    public async Task A_trace_keeps_what_was_recorded(CancellationToken cancellationToken)
    {
        string file = Path.Combine(_folder, "a.trace");
        var output = new StringWriter();
        using var cancel = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var error = new CancellingWriter(cancel, "token 7 of");
        int code = await KimiCommand.RunAsync(["trace", "--prompt", "ROMEO:\n", "-n", "5000", "--ignore-eos", "-o", file], new CliStreams(Stream.Null, output, error, IsTerminal: true), cancel);
        Assert.That((code, output.ToString()), Is.EqualTo((KimiCommand.Cancelled, "")));
        Assert.That(error.ToString(), Does.Contain($"What was recorded until then is in {file} (7 forward passes)."));
        Assert.That(RoutingTrace.Read(file).Steps, Has.Count.EqualTo(7), "the prompt and six tokens");
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1), "nothing unfinished is left");
    }

    /// <summary>As where the connection drops in which it runs.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task A_trace_whose_terminal_goes_away_keeps_what_was_recorded(CancellationToken cancellationToken)
    {
        string file = Path.Combine(_folder, "a.trace");
        using var kimi = new KimiProcess("trace", "--prompt", "ROMEO:\n", "-n", "8000", "--ignore-eos", "-o", file);
        await WaitUntilAsync(() => Directory.GetFiles(_folder) is [var unfinished] && new FileInfo(unfinished).Length > 10_000, cancellationToken);
        kimi.Send(1);
        string said = await kimi.Error.ReadToEndAsync(cancellationToken);
        Assert.That((await kimi.WaitAsync(cancellationToken), said), Is.EqualTo((KimiCommand.Cancelled, said)));
        Assert.That(said, Does.StartWith($"What was recorded until then is in {file} ("));
        Assert.That(RoutingTrace.Read(file).Steps, Is.Not.Empty);
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }

    /// <summary>The opening waits until somebody writes into the model's configuration. The port is given back before the server takes it, so no other test may take one meanwhile.</summary>
    [Test]
    [NonParallelizable]
    [CancelAfter(180_000)]
    public async Task A_server_stops_while_its_model_is_being_opened([Values(2, 15, 1)] int signal, CancellationToken cancellationToken)
    {
        string pipe = await MakePipeAsync("config.json", cancellationToken);
        int port = FreePort();
        using var kimi = new KimiProcess("serve", "--port", $"{port}", "--model", _folder);
        Task<string> said = kimi.Error.ReadToEndAsync(cancellationToken);
        await WaitUntilAsync(() => Listens(port), cancellationToken);
        kimi.Send(signal);
        await WaitUntilAsync(() => !Listens(port), cancellationToken);

        // What cannot be interrupted is waited for.
        using Process write = Process.Start("sh", ["-c", $"echo >'{pipe}'"]);
        await write.WaitForExitAsync(cancellationToken);
        Assert.That((await kimi.WaitAsync(cancellationToken), await said), Is.EqualTo((KimiCommand.Ok, await said)));
    }

    [Test]
    [CancelAfter(180_000)]
    public async Task A_server_brings_running_answers_to_their_end([Values(2, 15, 1)] int signal, CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess("serve", "--port", "0");
        Task<string> error = kimi.Error.ReadToEndAsync(cancellationToken);
        string line = await kimi.Output.ReadLineAsync(cancellationToken) ?? "";
        using var http = new HttpClient { BaseAddress = new Uri(Address().Match(line).Value) };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = new StringContent("""{"prompt":"ROMEO:\n","ignore_eos":true,"max_tokens":300,"stream":true}""", Encoding.UTF8, "application/json"),
        };
        using HttpResponseMessage response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        Assert.That(await reader.ReadLineAsync(cancellationToken), Does.StartWith("data: {"), "it runs");
        kimi.Send(signal);
        string rest = await reader.ReadToEndAsync(cancellationToken);
        Assert.That(rest, Does.Contain("\"finish_reason\":\"length\"").And.Contain("data: [DONE]").And.Not.Contain("\"error\""));
        Assert.That((await kimi.WaitAsync(cancellationToken), await error), Is.EqualTo((KimiCommand.Ok, await error)));
    }

    [GeneratedRegex("http://[^ ]+")]
    private static partial Regex Address();

    private async Task<string> MakePipeAsync(string name, CancellationToken cancellationToken)
    {
        string pipe = Path.Combine(_folder, name);
        using Process make = Process.Start("mkfifo", [pipe]);
        await make.WaitForExitAsync(cancellationToken);
        return pipe;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static bool Listens(int port)
    {
        using var client = new TcpClient();
        try
        {
            client.Connect(IPAddress.Loopback, port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static async Task WaitUntilAsync(Func<bool> condition, CancellationToken cancellationToken)
    {
        while (!condition())
        {
            await Task.Delay(20, cancellationToken);
        }
    }

    /// <summary>Cancels when it is told something.</summary>
    private sealed class CancellingWriter(CancellationTokenSource cancel, string at) : StringWriter
    {
        public override void Write(string? value)
        {
            base.Write(value);
            if (value?.Contains(at, StringComparison.Ordinal) == true)
            {
                cancel.Cancel();
            }
        }
    }
}
