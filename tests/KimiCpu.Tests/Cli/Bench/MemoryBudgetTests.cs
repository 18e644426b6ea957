// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Cli.Bench;

/// <summary>In a process of its own, which a control group holds to less memory than the checkpoint has; skipped where none may be made.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed class MemoryBudgetTests
{
    private const string Shape = "k2-mini,layers=4,experts=96,vocab=4096";
    private string _folder = null!;

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory().FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    [Platform("Linux")]
    [CancelAfter(600_000)]
    public async Task Decoding_from_slots_outlives_a_limit_that_the_checkpoint_exceeds(CancellationToken cancellationToken)
    {
        (int code, string output, string error) = await BenchAsync("60MB", "700MB", cancellationToken);
        if (output.Contains("no control group", StringComparison.Ordinal))
        {
            Assert.Ignore("Needs the right to make control groups.");
        }

        Assert.That(code, Is.Zero, error);
        JsonElement result = JsonDocument.Parse(output).RootElement.GetProperty("results")[0];
        Assert.That(result.GetProperty("resident_share").GetDouble(), Is.InRange(0.03, 0.08));
        Assert.That(result.GetProperty("missed_bytes_per_token").GetDouble(), Is.GreaterThan(30e6));
        Assert.That(result.GetProperty("tokens_per_second").GetDouble(), Is.Positive);
        (code, _, error) = await BenchAsync("600MB", "700MB", cancellationToken);
        Assert.That((code, error.Contains("does not fit", StringComparison.Ordinal)), Is.EqualTo((2, true)), "Refused before the group kills it: " + error);
    }

    private async Task<(int Code, string Output, string Error)> BenchAsync(string slots, string limit, CancellationToken cancellationToken)
    {
        using var kimi = new KimiProcess("bench", "--shape", Shape, "--cache", _folder, "--expert-memory", slots, "--memory-limit", limit, "--no-mapping", "--warm-up", "2", "--decode", "4", "--skew", "0", "--json");
        Task<string> error = kimi.Error.ReadToEndAsync(cancellationToken);
        string output = await kimi.Output.ReadToEndAsync(cancellationToken);
        return (await kimi.WaitAsync(cancellationToken), output, await error);
    }
}
