// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Cli;
using KimiCpu.Cli.Terminal;

namespace KimiCpu.Tests.Readme;

/// <summary>Whoever follows docs/server.md from its top gets an answer.</summary>
[TestFixture]
internal sealed partial class ServerPageTests
{
    private static string Page => File.ReadAllText(Path.Combine(Repository.Root, "docs", "server.md"));

    [Test]
    [CancelAfter(120_000)]
    public async Task The_first_server_answers_the_first_request(CancellationToken cancellationToken)
    {
        string[] args = FirstServer().Match(Page).Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Match request = FirstRequest().Match(Page);
        Assert.That(request.Success);
        using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var output = new StringWriter();
        var error = new StringWriter();
        Task<int> run = KimiCommand.RunAsync(
            [.. args, "--port", "0"], new CliStreams(Stream.Null, TextWriter.Synchronized(output), TextWriter.Synchronized(error), IsTerminal: false), cancellation);
        Assert.That(() => run.IsCompleted || output.ToString().Length > 0, Is.True.After(60_000, 50));
        Assert.That(run.IsCompleted, Is.False, error.ToString());
        using var http = new HttpClient { BaseAddress = new Uri(Address().Match(output.ToString()).Value) };
        using var body = new StringContent(request.Groups["body"].Value, Encoding.UTF8, "application/json");
        using HttpResponseMessage answer = await http.PostAsync(request.Groups["path"].Value, body, cancellationToken);
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.OK), await answer.Content.ReadAsStringAsync(cancellationToken));

        // The clients below it ask the same server.
        using JsonDocument models = JsonDocument.Parse(await http.GetStringAsync("/v1/models", cancellationToken));
        string[] served = [.. models.RootElement.GetProperty("data").EnumerateArray().Select(m => m.GetProperty("id").GetString()!)];
        string clients = Page[..Page.IndexOf("\n## ", StringComparison.Ordinal)];
        string[] named = [.. NamedModel().Matches(clients).Select(m => m.Groups[1].Value)];
        Assert.That(named, Has.Length.EqualTo(5));
        Assert.That(named.Distinct(), Is.SubsetOf(served));
        await cancellation.CancelAsync();
        await run;
    }

    [GeneratedRegex("^kimi (serve.*)$", RegexOptions.Multiline)]
    private static partial Regex FirstServer();

    [GeneratedRegex(@"^curl http://127\.0\.0\.1:8080(?<path>\S+)[^']*'(?<body>[^']*)'", RegexOptions.Multiline)]
    private static partial Regex FirstRequest();

    [GeneratedRegex("""(?:"model": |model=|model: |GetChatClient\()"([^"]+)""")]
    private static partial Regex NamedModel();

    [GeneratedRegex(@"http://127\.0\.0\.1:\d+")]
    private static partial Regex Address();
}
