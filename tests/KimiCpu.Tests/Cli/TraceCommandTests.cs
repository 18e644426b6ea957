// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using KimiCpu.Cli;
using KimiCpu.Cli.Routing;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

[TestFixture]
internal sealed class TraceCommandTests
{
    private string _folder = null!;

    private string TraceFile => Path.Combine(_folder, "a.trace");

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task Trace_of_a_model_is_simulated()
    {
        (int code, string output, string error) = await Run("trace", "--prompt", "ROMEO:\n", "-n", "30", "--ignore-eos", "--seed", "3", "-o", TraceFile);
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(output, Does.Contain("30 generated"));
        var trace = RoutingTrace.Read(TraceFile);
        Assert.That(trace.Steps, Has.Count.EqualTo(31));
        Assert.That((trace.Header.ExpertBytes, trace.Header.MoeLayers.Count, trace.Header.ModelName), Is.EqualTo((55_296L, 5, "kimi-nano")));
        Assert.That(trace.Steps.SelectMany(s => Enumerable.Range(0, 5).Select(l => s.ExpertsOf(l)[..4].ToArray().Distinct().Count())), Has.All.EqualTo(4));

        string chart = Path.Combine(_folder, "a.svg");
        (code, output, _) = await Run("simulate", TraceFile, "--slots", "20,60", "--json", "--look-ahead", "--chart", chart);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        Assert.That(json.RootElement.GetProperty("tokens").GetInt32(), Is.EqualTo(30));
        Assert.That(json.RootElement.GetProperty("look_ahead_recall").GetDouble(), Is.InRange(0.6, 1));
        Assert.That(json.RootElement.GetProperty("skew").GetArrayLength(), Is.EqualTo(5));
        Assert.That(json.RootElement.GetProperty("results").GetArrayLength(), Is.EqualTo(2 * 5));
        Assert.That(File.ReadAllText(chart), Does.StartWith("<svg"));
        (_, string table, _) = await Run("simulate", TraceFile, "--memory", "2MB,100GB", "--policy", "lru,lfu:50");
        Assert.That(table, Does.Contain("lfu:50").And.Contain("belady").And.Contain("hit rate"));
    }

    [Test]
    public async Task Same_seed_makes_the_same_trace()
    {
        string other = Path.Combine(_folder, "b.trace");
        foreach (string file in new[] { TraceFile, other })
        {
            await Run("trace", "--prompt", "ROMEO:\n", "-n", "10", "--seed", "3", "--temperature", "1", "-o", file);
        }

        Assert.That(File.ReadAllBytes(other), Is.EqualTo(File.ReadAllBytes(TraceFile)));
    }

    /// <summary>On a machine that has not the memory for all experts, slots are the only way to a trace.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task Traces_and_logits_are_the_same_with_experts_in_slots([Values("trace --prompt ROMEO: -n 10 --seed 3", "logits --tokens 5,6,7,8")] string command)
    {
        string other = Path.Combine(_folder, "b.trace");
        Assert.That((await Run([.. command.Split(' '), "-o", TraceFile])).Code, Is.Zero);
        (int code, _, string error) = await Run([.. command.Split(' '), "--model", Repository.NanoModel, "--expert-memory", "2MB", "-o", other]);
        Assert.That((code, error), Is.EqualTo((0, "")));
        Assert.That(File.ReadAllBytes(other), Is.EqualTo(File.ReadAllBytes(TraceFile)));
    }

    [Test]
    [Platform("Linux", Reason = "Elsewhere such a page ends the process.")]
    [CancelAfter(120_000)]
    public async Task A_file_that_cannot_be_read_any_more_ends_a_trace_that_keeps_what_was_recorded()
    {
        if (RuntimeInformation.ProcessArchitecture != System.Runtime.InteropServices.Architecture.X64)
        {
            Assert.Ignore("Needs x64.");
        }

        string model = Path.Combine(_folder, "model");
        Directory.CreateDirectory(model);
        foreach (string file in Directory.GetFiles(Repository.NanoModel))
        {
            File.Copy(file, Path.Combine(model, Path.GetFileName(file)));
        }

        using var cancellation = new CancellationTokenSource();
        using var error = new ActingWriter("token 7 of", () =>
        {
            foreach (string shard in Directory.GetFiles(model, "*.safetensors"))
            {
                using var stream = new FileStream(shard, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
                stream.SetLength(4096);
            }
        });
        int code = await KimiCommand.RunAsync(
            ["trace", "--model", model, "--prompt", "ROMEO:\n", "-n", "500", "--ignore-eos", "-o", TraceFile], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: true), cancellation);
        Assert.That((code, error.ToString()), Is.EqualTo((KimiCommand.Failed, error.ToString())));
        Assert.That(error.ToString(), Does.Contain("cannot be read at byte").And.Contains("What was recorded until then is in "));
        Assert.That(RoutingTrace.Read(TraceFile).Steps, Has.Count.EqualTo(7), "the prompt and six tokens");
    }

    [Test]
    public async Task Synthetic_trace_needs_no_model()
    {
        (int code, string output, _) = await Run("trace", "--synthetic", "zipf:0.8", "--layers", "3", "--experts", "20", "--topk", "2", "-n", "40", "--recall", "0.9", "--locality", "0.3", "--seed", "1", "-o", TraceFile);
        Assert.That((code, output), Is.EqualTo((0, $"40 made-up tokens in {TraceFile} ({new FileInfo(TraceFile).Length} bytes){Environment.NewLine}")));
        (code, output, _) = await Run("simulate", TraceFile, "--look-ahead", "--warmup", "10");
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("30 tokens counted").And.Contain("foreseen"));
    }

    /// <summary>As in <c>kimi trace -o /dev/stdout | ssh …</c>.</summary>
    [Test]
    [Platform("Linux", Reason = "There it has these names.")]
    [CancelAfter(60_000)]
    public async Task A_trace_that_goes_to_the_output_has_it_for_itself([Values("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")] string path, CancellationToken cancellationToken)
    {
        using (var kimi = new KimiProcess("trace", "--synthetic", "flat", "-n", "3", "-o", path))
        {
            await using (var file = new FileStream(TraceFile, FileMode.CreateNew))
            {
                await kimi.Output.BaseStream.CopyToAsync(file, cancellationToken);
            }

            Assert.That((await kimi.WaitAsync(cancellationToken), await kimi.Error.ReadToEndAsync(cancellationToken)), Is.EqualTo((KimiCommand.Ok, $"3 made-up tokens in {path}" + Environment.NewLine)));
        }

        Assert.That(RoutingTrace.Read(TraceFile).Steps, Has.Count.EqualTo(3));
        using var logits = new KimiProcess("logits", "--tokens", "1,2", "-o", path);
        using var rows = new MemoryStream();
        await logits.Output.BaseStream.CopyToAsync(rows, cancellationToken);
        Assert.That(await logits.Error.ReadToEndAsync(cancellationToken), Does.StartWith($"1 x {rows.Length / sizeof(float)} float32 in {path}"));
    }

    /// <summary>As in <c>kimi simulate &lt;(ssh … cat a.trace)</c>.</summary>
    [Test]
    [Platform("Linux", Reason = "Pipes have names there.")]
    [CancelAfter(60_000)]
    public async Task A_trace_is_read_from_a_pipe(CancellationToken cancellationToken)
    {
        await Run("trace", "--synthetic", "flat", "--layers", "2", "--experts", "9", "--topk", "2", "-n", "5", "-o", TraceFile);
        string pipe = Path.Combine(_folder, "pipe");
        using (Process make = Process.Start("mkfifo", [pipe]))
        {
            await make.WaitForExitAsync(cancellationToken);
        }

        Task write = Task.Run(() => File.WriteAllBytes(pipe, File.ReadAllBytes(TraceFile)), cancellationToken);
        Assert.That(await Run("simulate", pipe).WaitAsync(cancellationToken), Is.EqualTo(await Run("simulate", TraceFile)));
        await write.WaitAsync(cancellationToken);
    }

    [TestCase("trace", "--synthetic", "pareto:1", "-o", "x")]
    [TestCase("trace", "--synthetic", "zipf:-1", "-o", "x")]
    [TestCase("trace", "--synthetic", "flat", "--topk", "999", "-o", "x")]
    [TestCase("trace", "--synthetic", "flat", "--locality", "2", "-o", "x")]
    [TestCase("trace", "--synthetic", "flat", "--prompt", "a", "-o", "x")]
    [TestCase("trace", "--prompt", "a", "--file", "b", "-o", "x")]
    [TestCase("trace", "--prompt", "", "-o", "x")]
    [TestCase("trace", "--prompt", "a", "--chunk", "0", "-o", "x")]
    [TestCase("trace", "--prompt", "a", "--temperature", "-1", "-o", "x")]
    [TestCase("trace", "--prompt", "a", "--expert-memory", "12 parsecs", "-o", "x")]
    [TestCase("trace", "--prompt", "a")]
    public async Task Wrong_usage_is_explained(params string[] args)
    {
        (int code, string output, string error) = await Run(args);
        Assert.That((code, output), Is.EqualTo((2, "")));
        Assert.That(error, Is.Not.Empty);
        Assert.That(File.Exists("x"), Is.False);
    }

    [TestCase("--policy", "fifo")]
    [TestCase("--slots", "0")]
    [TestCase("--slots", "")]
    [TestCase("--memory", ",")]
    [TestCase("--slots", "12,x")]
    [TestCase("--memory", "12 parsecs")]
    [TestCase("--memory", "1KB")]
    [TestCase("--look-ahead")]
    [TestCase("--warmup", "5")]
    [TestCase("--slots", "1", "--memory", "1GB")]
    public async Task Simulate_refuses_what_makes_no_sense(params string[] args)
    {
        await Run("trace", "--synthetic", "flat", "--layers", "2", "--experts", "9", "--topk", "2", "-n", "5", "-o", TraceFile);
        (int code, string output, string error) = await Run(["simulate", TraceFile, .. args]);
        Assert.That((code, output), Is.EqualTo((2, "")));
        Assert.That(error, Is.Not.Empty);
    }

    [Test]
    public async Task A_file_that_is_no_trace_fails()
    {
        File.WriteAllText(TraceFile, "no trace");
        Assert.That(await Run("simulate", TraceFile), Is.EqualTo((1, "", $"'{TraceFile}': This is no routing trace: it does not begin like one. `kimi trace` records them.{Environment.NewLine}")));
        Assert.That((await Run("simulate", TraceFile + "x")).Code, Is.EqualTo(KimiCommand.Usage));
    }

    private static async Task<(int Code, string Output, string Error)> Run(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        using var cancellation = new CancellationTokenSource();
        int code = await KimiCommand.RunAsync(args, new CliStreams(new MemoryStream(Encoding.UTF8.GetBytes("")), output, error, IsTerminal: false), cancellation);
        return (code, output.ToString(), error.ToString());
    }

    /// <summary>Does something when it is told something.</summary>
    private sealed class ActingWriter(string at, Action act) : StringWriter
    {
        public override void Write(string? value)
        {
            base.Write(value);
            if (value?.Contains(at, StringComparison.Ordinal) == true)
            {
                act();
            }
        }
    }
}
