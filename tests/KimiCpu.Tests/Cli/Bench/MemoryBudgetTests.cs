// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Text.Json;

namespace KimiCpu.Tests.Cli.Bench;

/// <summary>In a process of its own, which a control group holds to less memory than the checkpoint has; skipped where none may be made.</summary>
[TestFixture]
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
    public void Decoding_from_slots_outlives_a_limit_that_the_checkpoint_exceeds()
    {
        (int code, string output, string error) = Bench("60MB", "700MB");
        if (output.Contains("no control group", StringComparison.Ordinal))
        {
            Assert.Ignore("Needs the right to make control groups.");
        }

        Assert.That(code, Is.Zero, error);
        JsonElement result = JsonDocument.Parse(output).RootElement.GetProperty("results")[0];
        Assert.That(result.GetProperty("resident_share").GetDouble(), Is.InRange(0.03, 0.08));
        Assert.That(result.GetProperty("missed_bytes_per_token").GetDouble(), Is.GreaterThan(30e6));
        Assert.That(result.GetProperty("tokens_per_second").GetDouble(), Is.Positive);
        (code, _, error) = Bench("600MB", "700MB");
        Assert.That((code, error.Contains("does not fit", StringComparison.Ordinal)), Is.EqualTo((2, true)), "Refused before the group kills it: " + error);
    }

    private (int Code, string Output, string Error) Bench(string slots, string limit)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "kimi.dll");
        var start = new ProcessStartInfo("dotnet", [program, "bench", "--shape", Shape, "--cache", _folder, "--expert-memory", slots, "--memory-limit", limit, "--no-mapping", "--warm-up", "2", "--decode", "4", "--skew", "0", "--json"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process bench = Process.Start(start)!;
        Task<string> error = bench.StandardError.ReadToEndAsync();
        string output = bench.StandardOutput.ReadToEnd();
        bench.WaitForExit();
        return (bench.ExitCode, output, error.Result);
    }
}
