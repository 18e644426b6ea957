// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.Http.Json;
using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server;

/// <summary>Streams whose first token takes longer than the silence that is allowed.</summary>
[TestFixture]
internal sealed class StreamKeepAliveTests
{
    private const string Comment = ": still at work";

    private static readonly string s_long = string.Concat(Enumerable.Repeat("Tell me a story. ", 500));

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await RunningServer.StartAsync(
        o => o.StreamKeepAlive = TimeSpan.FromMilliseconds(1), m => (m.ContextLength, m.PrefixCaching, m.Threads) = (8192, false, 1));

    [OneTimeTearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [TestCase("/v1/chat/completions", Comment, "data: [DONE]")]
    [TestCase("/v1/completions", Comment, "data: [DONE]")]
    [TestCase("/v1/messages", "event: ping\ndata: {\"type\":\"ping\"}", "message_stop")]
    public async Task What_says_nothing_stands_between_events(string path, string filler, string end)
    {
        string text = await Post(path, s_long);
        string[] events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.That(events.Count(e => e == filler), Is.GreaterThan(2));
        Assert.That(events[^1], Does.Contain(end));
        foreach (string line in events.SelectMany(e => e.Split('\n')))
        {
            Assert.That(line, Does.StartWith("data: ").Or.StartWith("event: ").Or.EqualTo(filler));
        }
    }

    /// <summary>Codex counts events: a stream that brings comments alone for five minutes is dead to it.</summary>
    [Test]
    public async Task Responses_say_again_that_they_are_in_progress()
    {
        JsonElement[] events = [.. (await Post("/v1/responses", s_long)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(e =>
        {
            string[] lines = e.Split('\n');
            JsonElement data = JsonElement.Parse(lines[1]["data: ".Length..]);
            Assert.That((lines.Length, lines[0]), Is.EqualTo((2, $"event: {data.GetProperty("type").GetString()}")));
            return data;
        })];
        string[] types = [.. events.Select(e => e.GetProperty("type").GetString()!)];
        Assert.That(types.Take(4), Is.EqualTo(new[] { "response.created", "response.in_progress", "response.in_progress", "response.in_progress" }));
        Assert.That(types[^1], Is.EqualTo("response.incomplete"));
        Assert.That(events.Select(e => e.GetProperty("sequence_number").GetInt32()), Is.EqualTo(Enumerable.Range(0, events.Length)));
        JsonElement[] running = [.. events.Where((_, i) => types[i] is "response.created" or "response.in_progress").Select(e => e.GetProperty("response"))];
        Assert.That(running.Select(r => JsonElement.DeepEquals(r, running[0])), Is.All.True);
        Assert.That((running[0].GetProperty("status").GetString(), running[0].GetProperty("output").GetArrayLength()), Is.EqualTo(("in_progress", 0)));
        Assert.That(events[^1].GetProperty("response").GetProperty("id").GetString(), Is.EqualTo(running[0].GetProperty("id").GetString()));
    }

    /// <summary>The names of tools, white space in their arguments: a model that is slow, or does not end with them, says nothing meanwhile.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Responses_are_in_progress_also_while_tokens_come_of_which_nothing_is_shown(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        GenerationResult result = model.Generate("Hi", new GenerationOptions { MaxTokens = 1 }, cancellationToken);
        bool seen = false;
        await using RunningServer server = await RunningServer.StartWithAsync(
            StandInModel.Of(model, m => m.Name == nameof(IKimiModel.GenerateAsync) ? UpdatesAsync() : null), o => o.StreamKeepAlive = TimeSpan.FromMilliseconds(200));
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/responses") { Content = JsonContent.Create(new { model = "kimi-nano", input = "Hi", stream = true }) };
        using HttpResponseMessage response = await server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        for (int told = 0; told < 3;)
        {
            string? line = await reader.ReadLineAsync(cancellationToken);
            Assert.That(line, Is.Not.Null);
            told += line == "event: response.in_progress" ? 1 : 0;
        }

        Volatile.Write(ref seen, true);
        Assert.That(await reader.ReadToEndAsync(cancellationToken), Does.Contain("event: response.incomplete"));

        async IAsyncEnumerable<GenerationUpdate> UpdatesAsync()
        {
            while (!Volatile.Read(ref seen))
            {
                await Task.Delay(1, cancellationToken);
                yield return new GenerationUpdate { Tokens = [1] };
            }

            yield return new GenerationUpdate { Result = result };
        }
    }

    /// <summary>Clients may take the response of an event as all that there is, and an answer may pause anywhere.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Pauses_within_a_response_are_filled_with_what_agrees_with_its_items(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var answer = new PausingAnswer(model, cancellationToken);
        await using RunningServer server = await answer.ServeAsync();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/responses") { Content = JsonContent.Create(new { model = "kimi-nano", input = "Hi", stream = true }) };
        using HttpResponseMessage response = await server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        var pauses = new List<string>();
        var done = new List<JsonElement>();
        string? open = null;
        for ((int number, int silent) = (0, 0); await reader.ReadLineAsync(cancellationToken) is { } line;)
        {
            if (!line.StartsWith("data: ", StringComparison.Ordinal))
            {
                continue;
            }

            JsonElement data = JsonElement.Parse(line["data: ".Length..]);
            string type = data.GetProperty("type").GetString()!;
            Assert.That(data.GetProperty("sequence_number").GetInt32(), Is.EqualTo(number++));
            if (type is "response.output_item.added" or "response.output_item.done")
            {
                JsonElement item = data.GetProperty("item");
                open = type == "response.output_item.added" ? item.GetProperty("id").GetString() : null;
                done.AddRange(open is null ? [item] : []);
            }

            bool says = true;
            if (type == "response.in_progress")
            {
                says = false;
                JsonElement[] output = [.. data.GetProperty("response").GetProperty("output").EnumerateArray()];
                Assert.That(open, Is.Null, "or the item that is open would be missing");
                Assert.That(output.Select(o => o.GetRawText()), Is.EqualTo(done.Select(d => d.GetRawText())));
            }
            else if (data.TryGetProperty("delta", out JsonElement delta) && delta.GetString() == "")
            {
                says = false;
                Assert.That((data.GetProperty("item_id").GetString(), data.GetProperty("output_index").GetInt32()), Is.EqualTo((open, done.Count)));
            }

            silent = says ? 0 : silent + 1;
            if (silent == 3)
            {
                pauses.Add(type);
                using HttpResponseMessage look = await server.GetAsync("/kimi/machine");
            }
        }

        Assert.That(pauses, Is.EqualTo(new[]
        {
            "response.in_progress", "response.reasoning_text.delta", "response.output_text.delta", "response.output_text.delta",
            "response.function_call_arguments.delta", "response.function_call_arguments.delta", "response.function_call_arguments.delta", "response.in_progress",
        }));
        Assert.That(done, Has.Count.EqualTo(3));
    }

    [Test]
    public async Task Ollama_has_empty_pieces()
    {
        JsonElement[] lines = [.. (await Post("/api/chat", s_long)).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.That(lines, Has.Length.GreaterThan(4));
        Assert.That(lines[0].GetProperty("message").GetProperty("content").GetString(), Is.Empty);
        Assert.That(lines.Select(l => l.GetProperty("done").GetBoolean()), Is.EqualTo(Enumerable.Repeat(false, lines.Length - 1).Append(true)));
    }

    [TestCase("/v1/completions", Comment)]
    [TestCase("/v1/responses", "event: response.in_progress")]
    public async Task Client_that_leaves_between_fillers_ends_its_answer(string path, string filler)
    {
        using var source = new CancellationTokenSource();
        object body = path == "/v1/responses"
            ? new { model = "kimi-nano", input = s_long, stream = true, max_output_tokens = 2000 }
            : new { model = "kimi-nano", prompt = s_long, stream = true, max_tokens = 2000 };
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = JsonContent.Create(body) };
        int gone = _server.Gone;
        using (HttpResponseMessage response = await _server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, source.Token))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            for (int seen = 0; seen < 3;)
            {
                string? line = await reader.ReadLineAsync();
                Assert.That(line, Is.Not.Null);
                seen += line == filler ? 1 : 0;
            }
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
