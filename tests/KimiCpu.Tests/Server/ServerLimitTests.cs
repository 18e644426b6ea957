// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Routing;

namespace KimiCpu.Tests.Server;

/// <summary>What the model's limits and the end of the server are over HTTP, before a stream begins and within it.</summary>
[TestFixture]
internal sealed class ServerLimitTests
{
    private const string Completions = "/v1/completions";
    private const string Endless = """{"prompt":"ROMEO:\n","ignore_eos":true,"max_tokens":8000}""";
    private const string EndlessStream = """{"prompt":"ROMEO:\n","ignore_eos":true,"max_tokens":8000,"stream":true}""";

    [Test]
    [CancelAfter(120_000)]
    public async Task A_call_that_takes_too_long_has_timed_out(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(model: o => (o.ContextLength, o.MaxCallTime) = (8192, TimeSpan.FromMilliseconds(200)));
        (int status, JsonElement body, _) = await server.PostAsync(Completions, Endless);
        Assert.That((status, Code(body)), Is.EqualTo((504, "timeout")), body.GetRawText());
        string[] events = await EventsAsync(server, cancellationToken);
        Assert.That(events[^1], Is.EqualTo("data: [DONE]"));
        Assert.That(Code(JsonElement.Parse(events[^2]["data: ".Length..])), Is.EqualTo("timeout"));
        server.ExpectIdle();
    }

    [Test]
    [CancelAfter(120_000)]
    public async Task A_call_that_waits_too_long_may_come_again(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(model: o => (o.ContextLength, o.MaxRunning, o.MaxQueueTime) = (8192, 1, TimeSpan.FromMilliseconds(50)));
        using HttpResponseMessage running = await server.Http.SendAsync(Request(EndlessStream), HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        Assert.That(() => server.Model.Activity.RunningCalls, Is.EqualTo(1).After(10_000, 5));
        (int status, JsonElement body, HttpResponseMessage response) = await server.PostAsync(Completions, Endless);
        Assert.That((status, Code(body)), Is.EqualTo((429, "rate_limit_exceeded")), body.GetRawText());
        Assert.That(response.Headers.RetryAfter!.Delta, Is.GreaterThan(TimeSpan.Zero));
        string[] events = await EventsAsync(server, cancellationToken);
        Assert.That(events[^1], Is.EqualTo("data: [DONE]"));
        Assert.That(Code(JsonElement.Parse(events[^2]["data: ".Length..])), Is.EqualTo("rate_limit_exceeded"));
    }

    /// <summary>Else so many bodies could be there at once as there are connections.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task What_has_no_place_among_the_requests_has_a_small_body(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(o => o.MaxRequests = 1);
        string body = $$"""{"model":"kimi-nano","x":[1{{string.Concat(Enumerable.Repeat(",1", 100_000))}}]}""";
        using HeldAnswer running = await server.HoldAnswerAsync();
        string[] paths = [.. server.Routes.Where(r => r.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods.Contains("POST") == true).Select(r => r.RoutePattern.RawText!)];
        Assert.That(paths, Has.Some.EqualTo("/api/show").And.Some.EqualTo("/api/chat").And.Some.EqualTo("/v1/responses"));
        foreach (string path in paths)
        {
            (int status, _, _) = await server.PostAsync(path, body);
            Assert.That(status, Is.EqualTo(path == "/api/show" ? 413 : 429), path);
        }

        (int shown, _, _) = await server.PostAsync("/api/show", """{"model":"kimi-nano"}""");
        Assert.That(shown, Is.EqualTo(200), "to look at the models takes no place");
    }

    /// <summary>Those that came over connections which were there before it listened no longer.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task Requests_that_are_not_begun_when_the_server_stops_are_sent_away(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync();
        _ = server.Model;
        Assert.That(await ReadyAsync(), Is.EqualTo((200, "ready")));
        server.BeginToStop();
        Assert.That(await ReadyAsync(), Is.EqualTo((503, "stopping")));
        foreach (string request in new[] { Endless, EndlessStream })
        {
            (int status, JsonElement body, HttpResponseMessage response) = await server.PostAsync(Completions, request);
            Assert.That((status, Code(body)), Is.EqualTo((503, "shutting_down")), body.GetRawText());
            Assert.That(response.Headers.RetryAfter!.Delta, Is.GreaterThan(TimeSpan.Zero));
        }

        using HttpResponseMessage health = await server.Http.GetAsync("/health", cancellationToken);
        Assert.That((int)health.StatusCode, Is.EqualTo(200), "it lives");

        async Task<(int Status, string? Word)> ReadyAsync()
        {
            using HttpResponseMessage response = await server.Http.GetAsync("/ready", cancellationToken);
            return ((int)response.StatusCode, JsonElement.Parse(await response.Content.ReadAsStringAsync(cancellationToken)).GetProperty("status").GetString());
        }
    }

    private static string? Code(JsonElement body) => body.GetProperty("error").GetProperty("code").GetString();

    private static HttpRequestMessage Request(string json) => new(HttpMethod.Post, Completions) { Content = new StringContent(json, Encoding.UTF8, "application/json") };

    private static async Task<string[]> EventsAsync(RunningServer server, CancellationToken cancellationToken)
    {
        using HttpResponseMessage response = await server.Http.SendAsync(Request(EndlessStream), cancellationToken);
        Assert.That((int)response.StatusCode, Is.EqualTo(200));
        return (await response.Content.ReadAsStringAsync(cancellationToken)).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
    }
}
