// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.Http.Json;
using System.Text.Json;

namespace KimiCpu.Tests.Server;

/// <summary>Streams whose first token takes longer than the silence that is allowed.</summary>
[TestFixture]
internal sealed class StreamKeepAliveTests
{
    private static readonly string s_long = string.Concat(Enumerable.Repeat("Tell me a story. ", 500));

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await RunningServer.StartAsync(
        o => o.StreamKeepAlive = TimeSpan.FromMilliseconds(1), m => (m.ContextLength, m.PrefixCaching, m.Threads) = (8192, false, 1));

    [OneTimeTearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [TestCase("/v1/chat/completions", "data: [DONE]")]
    [TestCase("/v1/completions", "data: [DONE]")]
    [TestCase("/v1/responses", "response.incomplete")]
    [TestCase("/v1/messages", "message_stop")]
    public async Task Comments_stand_between_events(string path, string end)
    {
        string text = await Post(path, s_long);
        string[] events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.That(events, Has.Some.EqualTo(": still at work"));
        Assert.That(events[^1], Does.Contain(end));
        foreach (string line in events.SelectMany(e => e.Split('\n')))
        {
            Assert.That(line, Does.StartWith("data: ").Or.StartWith("event: ").Or.EqualTo(": still at work"));
        }
    }

    [Test]
    public async Task Ollama_has_empty_pieces()
    {
        JsonElement[] lines = [.. (await Post("/api/chat", s_long)).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.That(lines, Has.Length.GreaterThan(4));
        Assert.That(lines[0].GetProperty("message").GetProperty("content").GetString(), Is.Empty);
        Assert.That(lines.Select(l => l.GetProperty("done").GetBoolean()), Is.EqualTo(Enumerable.Repeat(false, lines.Length - 1).Append(true)));
    }

    [Test]
    public async Task Client_that_leaves_between_comments_ends_its_answer()
    {
        using var source = new CancellationTokenSource();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = JsonContent.Create(new { model = "kimi-nano", prompt = s_long, stream = true, max_tokens = 2000 }) };
        int gone = _server.Gone;
        using (HttpResponseMessage response = await _server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, source.Token))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            Assert.That(await reader.ReadLineAsync(), Is.EqualTo(": still at work"));
        }

        Assert.That(() => _server.Gone, Is.EqualTo(gone + 1).After(30_000, 5));
        Assert.That(() => _server.Model.Activity.RunningCalls, Is.Zero.After(30_000, 5));
    }

    private async Task<string> Post(string path, string prompt)
    {
        object body = path switch
        {
            "/v1/completions" => new { model = "kimi-nano", prompt, stream = true, max_tokens = 3 },
            "/v1/responses" => new { model = "kimi-nano", input = prompt, stream = true, max_output_tokens = 16 },
            "/api/chat" => new { model = "kimi-nano", messages = new[] { new { role = "user", content = prompt } }, options = new { num_predict = 3 } },
            _ => new { model = "kimi-nano", messages = new[] { new { role = "user", content = prompt } }, stream = true, max_tokens = 3 },
        };
        using HttpResponseMessage response = await _server.Http.PostAsJsonAsync(path, body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.That(response.IsSuccessStatusCode, text);
        return text;
    }
}
