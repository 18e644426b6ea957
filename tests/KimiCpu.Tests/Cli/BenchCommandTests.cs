// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Checkpoints;
using KimiCpu.Cli;
using KimiCpu.Cli.Bench;
using KimiCpu.Cli.Commands;
using KimiCpu.Cli.Terminal;
using KimiCpu.Cpu;
using KimiCpu.Model;
using KimiCpu.Weights;

namespace KimiCpu.Tests.Cli;

[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class BenchCommandTests : CommandFixture
{
    [Test]
    public async Task Bench_compares_thread_counts()
    {
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--tune", "--threads", "2", "--cache", Folder];
        (int code, string output, _) = await Run([.. args, "--json"]);
        Assert.That(code, Is.Zero);
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement results = json.RootElement.GetProperty("results");
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("threads").GetInt32()), Is.EqualTo(new[] { 1, 2 }));
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("per_second").GetDouble()), Is.All.Positive);
        Assert.That(json.RootElement.GetProperty("threads").GetInt32(), Is.InRange(1, 2));
        Assert.That((await Run(args)).Output, Does.Contain("chosen").And.Contain("yes"));
    }

    [Test]
    public async Task Bench_compares_answers_at_once()
    {
        string chart = Path.Combine(Folder, "concurrency.svg");
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--concurrency", "1,3", "--decode", "8", "--entering", "6000", "--token-gap", "100", "--chart", chart, "--cache", Folder];
        (int code, string output, string error) = await Run([.. args, "--json"]);
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement[] results = [.. json.RootElement.GetProperty("results").EnumerateArray()];
        Assert.That(results.Select(r => r.GetProperty("answers").GetInt32()), Is.EqualTo(new[] { 1, 3 }));
        foreach (string number in new[] { "per_second", "worst_gap_seconds", "per_second_with_prompt", "worst_gap_seconds_with_prompt", "prompt_per_second" })
        {
            Assert.That(results.Select(r => r.GetProperty(number).GetDouble()), Is.All.Positive, number);
        }

        Assert.That(File.ReadAllText(chart), Does.Contain("3 answers").And.EndWith("</svg>\n"));
        Assert.That((await Run(args)).Output, Does.Contain("with a prompt of 600"));
        Assert.That((await Run(["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--concurrency", "0", "--cache", Folder])).Code, Is.EqualTo(KimiCommand.Usage));
    }

    [Test]
    public async Task Slots_for_experts_want_a_model_with_experts()
    {
        (int code, string output, string error) = await Run(["bench", "--shape", "nano,layers=1", "--expert-memory", "1MB", "--cache", Folder]);
        Assert.That((code, output), Is.EqualTo((KimiCommand.Usage, "")), error);
        Assert.That(error, Does.Match("^--expert-memory is memory for routed experts, and '[^']+' has none."));
    }

    /// <summary>Whoever has less memory than experts wants to know how fast it will be, not how fast a mapping would be that no model uses.</summary>
    [Test]
    public void Experts_are_where_a_model_of_the_library_would_have_them([Values] bool fit)
    {
        ProcessMemory? memory = fit ? null : TooLittleForAllExperts();
        var cpu = new CpuBackendOptions { Threads = 1 };
        (StringWriter text, StringWriter json) = (new(), new());
        BenchCommand.MeasureModel(Repository.NanoModel, "nano", cpu, [ModelMemory.UsualChunk], 0, json: false, Streams(text), memory, default);
        BenchCommand.MeasureModel(Repository.NanoModel, "nano", cpu, [ModelMemory.UsualChunk], 0, json: true, Streams(json), memory, default);
        Assert.That(text.ToString(), fit ? Does.Contain(", all weights in memory") : Does.Match(@", \d+ slots for 120 experts, [\d.]+ MB, the others from the drive"));
        Assert.That(Slots(json), fit ? Is.Null : Is.InRange(1, 119));

        (text, json) = (new(), new());
        ThreadReport.Run(Repository.NanoModel, "nano", cpu, json: false, Streams(text), memory, default);
        ThreadReport.Run(Repository.NanoModel, "nano", cpu, json: true, Streams(json), memory, default);
        Assert.That(text.ToString(), Does.Contain(fit ? ", all weights in memory: 1 threads" : " slots for 120 experts"));
        Assert.That(Slots(json), fit ? Is.Null : Is.InRange(1, 119));

        static CliStreams Streams(TextWriter output) => new(Stream.Null, output, TextWriter.Null, IsTerminal: false);

        static int? Slots(StringWriter json)
        {
            using var document = JsonDocument.Parse(json.ToString());
            return document.RootElement.GetProperty("expert_slots") is { ValueKind: JsonValueKind.Number } slots ? slots.GetInt32() : null;
        }
    }

    /// <summary>Of which half are to be read from the drive.</summary>
    internal static ProcessMemory TooLittleForAllExperts()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Repository.NanoModel);
        var options = new KimiModelOptions { Threads = 1, PrefillChunk = ModelMemory.UsualChunk };
        long experts = CheckpointSummary.Of(checkpoint).Components.Single(c => c.Component == Component.RoutedExperts).Bytes;
        for (long bytes = 128L << 20; ; bytes += experts / 8)
        {
            var memory = new ProcessMemory(bytes, bytes, null);
            try
            {
                if (new ModelMemory(checkpoint, WeightLoader.ShapeOf(checkpoint.Config), options, DecodeTimer.MostTokens, memory).Divide(onGpu: false).Experts.SlotBytes >= experts / 2)
                {
                    return memory;
                }
            }
            catch (KimiException)
            {
                // Nothing is left for experts.
            }
        }
    }

    [Test]
    public async Task Bench_writes_its_checkpoint_once_and_measures()
    {
        string[] args = ["bench", "--shape", "nano,layers=2,experts=8,topk=2", "--prefill", "8", "--decode", "4", "--json", "--cache", Folder];
        (int code, string output, string error) = await Run(args);
        Assert.That((code, error), Is.EqualTo((0, "")));
        using JsonDocument json = JsonDocument.Parse(output);
        JsonElement results = json.RootElement.GetProperty("results");
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("part").GetString()), Is.EqualTo(new[] { "prefill 8", "decode 4" }));
        Assert.That(results.EnumerateArray().Select(r => r.GetProperty("per_second").GetDouble()), Is.All.Positive);
        string checkpoint = Directory.GetDirectories(Folder).Single();
        DateTime written = Directory.GetLastWriteTimeUtc(checkpoint);
        Assert.That((await Run(args)).Code, Is.Zero);
        Assert.That(Directory.GetLastWriteTimeUtc(checkpoint), Is.EqualTo(written));
        Assert.That((await Run(["logits", "--model", checkpoint, "--tokens", "1,2", "--out", Path.Combine(Folder, "l")])).Code, Is.Zero);
    }
}
