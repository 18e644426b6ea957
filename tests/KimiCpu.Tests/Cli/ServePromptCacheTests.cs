// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Cli;

/// <summary><c>kimi serve --prompt-cache DIR</c>.</summary>
[TestFixture]
[Parallelizable(ParallelScope.Self)]
internal sealed partial class ServePromptCacheTests
{
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("kimicpu").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task A_conversation_goes_on_over_a_restart()
    {
        Assert.That(await ServeAsync(), Is.Zero);
        int after = await ServeAsync();
        Assert.That(after, Is.GreaterThanOrEqualTo(128).And.EqualTo(after / 64 * 64));
    }

    [Test]
    public async Task A_size_that_is_of_no_use_is_refused()
    {
        var error = new StringWriter();
        int status = await KimiCommand.RunAsync(["serve", "--port", "0", "--prompt-cache", _folder, "--prompt-cache-size", "10MB"], new CliStreams(Stream.Null, TextWriter.Null, error, IsTerminal: false), new CancellationTokenSource());
        Assert.That(status, Is.Not.EqualTo(KimiCommand.Ok));
        Assert.That(error.ToString(), Does.Contain("--prompt-cache-size takes 1,000,000,000 or more; found 10000000"));
    }

    /// <returns>Tokens of the prompt that were not computed.</returns>
    private async Task<int> ServeAsync()
    {
        using var cancellation = new CancellationTokenSource();
        var output = new StringWriter();
        Task<int> run = KimiCommand.RunAsync(
            ["serve", "--port", "0", "--prompt-cache", _folder, "--prompt-cache-size", "2GB"], new CliStreams(Stream.Null, TextWriter.Synchronized(output), TextWriter.Null, IsTerminal: false), cancellation);
        Assert.That(() => run.IsCompleted || output.ToString().Length > 0, Is.True.After(60_000, 50));
        using var http = new HttpClient { BaseAddress = new Uri(Address().Match(output.ToString()).Value) };
        string question = string.Concat(Enumerable.Repeat("What is the capital of France? ", 40));
        using HttpResponseMessage answer = await http.PostAsync(
            "/v1/chat/completions", new StringContent(JsonSerializer.Serialize(new { messages = new[] { new { role = "user", content = question } }, max_tokens = 1 }), Encoding.UTF8, "application/json"));
        string text = await answer.Content.ReadAsStringAsync();
        await cancellation.CancelAsync();
        Assert.That(await run, Is.AnyOf(KimiCommand.Ok, KimiCommand.Cancelled));
        JsonElement usage = JsonDocument.Parse(text).RootElement.GetProperty("usage");
        return usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();
    }

    [GeneratedRegex(@"http://[0-9.:]+")]
    private static partial Regex Address();
}
