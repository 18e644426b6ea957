// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Cli;

namespace KimiCpu.Tests.Cli;

[TestFixture]
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
