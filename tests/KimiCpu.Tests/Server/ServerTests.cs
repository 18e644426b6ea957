// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace KimiCpu.Tests.Server;

/// <summary>Who may ask, for how much, and that nothing that clients do harms the others.</summary>
[TestFixture]
internal sealed class ServerTests
{
    private const string Chat = "/v1/chat/completions";
    private const string Short = """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}""";
    private const string Endless = """{"prompt":"ROMEO:\n","ignore_eos":true,"max_tokens":2000,"stream":true}""";

    [Test]
    public async Task Asks_for_a_key_where_there_are_some()
    {
        RunningServer server = await SharedServers.Guarded;
        int known = server.Log.Lines.Count;
        (int status, JsonElement body, HttpResponseMessage response) = await server.PostAsync(Chat, Short);
        Assert.That((status, body.GetProperty("error").GetProperty("type").GetString()), Is.EqualTo((401, "authentication_error")));
        Assert.That(response.Headers.WwwAuthenticate.Single().Scheme, Is.EqualTo("Bearer"));
        foreach ((string key, int expected) in new[] { ("key-2", 200), ("key-3", 401), ("", 401), ("key-", 401) })
        {
            Assert.That((await server.PostAsync(Chat, Short, ("Authorization", $"Bearer {key}"))).Status, Is.EqualTo(expected), key);
        }

        Assert.That((await server.PostAsync(Chat, Short, ("x-api-key", RunningServer.Key))).Status, Is.EqualTo(200));
        Assert.That((int)(await server.GetAsync("/v1/models", ("x-api-key", RunningServer.Key))).StatusCode, Is.EqualTo(200));
        foreach ((string bearer, string key, int expected) in new[] { ("key-3", "key-2", 200), ("key-2", "key-3", 200), ("key-3", "key-4", 401), ("", "key-2", 200) })
        {
            Assert.That((await server.PostAsync(Chat, Short, ("Authorization", $"Bearer {bearer}"), ("x-api-key", key))).Status, Is.EqualTo(expected), $"clients of Anthropic send both: {bearer}, {key}");
        }

        Assert.That((int)(await server.GetAsync("/v1/models")).StatusCode, Is.EqualTo(401));
        Assert.That((int)(await server.GetAsync("/health")).StatusCode, Is.EqualTo(200));
        Assert.That(server.Log.Since(known), Is.Not.Empty.And.None.Contains("key-"));
    }

    [Test]
    public async Task Pages_of_other_origins_may_not_ask()
    {
        RunningServer server = await SharedServers.Guarded;
        foreach ((string origin, int expected) in new[] { ("https://evil.example.com", 403), ("https://chat.example.com", 200), (server.Http.BaseAddress!.GetLeftPart(UriPartial.Authority), 200), ($"https://{server.Http.BaseAddress.Authority}", 200), ($"https://{server.Http.BaseAddress.Authority}0", 403) })
        {
            (int status, _, HttpResponseMessage response) = await server.PostAsync(Chat, Short, ("Origin", origin), ("x-api-key", RunningServer.Key));
            Assert.That(status, Is.EqualTo(expected), origin);
            Assert.That(response.Headers.Contains("Access-Control-Allow-Origin"), Is.False);
        }
    }

    [Test]
    public async Task Refuses_more_requests_than_it_may_take_and_says_when_to_come_back()
    {
        await using RunningServer server = await RunningServer.StartAsync(o => o.MaxRequests = 1);
        using (await server.HoldAnswerAsync())
        {
            await ExpectRefusalAsync(server);
        }

        await ExpectRoomAsync(server);
    }

    [Test]
    public async Task Refuses_more_requests_than_the_model_may_take_and_says_when_to_come_back()
    {
        RunningServer server = await SharedServers.Guarded;
        await server.WhileFullAsync(() => ExpectRefusalAsync(server));
        await ExpectRoomAsync(server);
    }

    [Test]
    public async Task Clients_that_go_away_leave_nothing_behind()
    {
        RunningServer server = await SharedServers.Plain;
        int known = server.Log.Lines.Count;
        for (int i = 0; i < 12; i++)
        {
            using HttpResponseMessage response = await BeginAsync(server, i % 2 == 0 ? Endless : Endless.Replace("\"stream\"", "\"n\":3,\"stream\"", StringComparison.Ordinal));
            using Stream stream = await response.Content.ReadAsStreamAsync();
            Assert.That(await stream.ReadAsync(new byte[16]), Is.Positive);
        }

        using (var half = new TcpClient())
        {
            await half.ConnectAsync(server.Http.BaseAddress!.Host, server.Http.BaseAddress.Port);
            await half.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"POST {Chat} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{\"mess"));
        }

        server.ExpectNoLeak();
        Assert.That((await server.PostAsync(Chat, Short)).Status, Is.EqualTo(200));
        Assert.That(server.Log.Since(known), Is.Not.Empty.And.None.StartsWith("Error"));
    }

    [Test]
    public async Task Nonsense_does_no_harm()
    {
        RunningServer server = await SharedServers.Plain;
        int known = server.Log.Lines.Count;
        var random = new Random(5);
        byte[] valid = Encoding.UTF8.GetBytes("""{"model":"kimi-nano","messages":[{"role":"system","content":"é"},{"role":"user","content":[{"type":"text","text":"Hi"}]}],"max_tokens":2,"temperature":0.5,"stop":["x"],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}""");
        for (int i = 0; i < 150; i++)
        {
            byte[] body = [.. valid];
            for (int k = 0; k <= random.Next(4); k++)
            {
                body[random.Next(body.Length)] = (byte)random.Next(256);
            }

            int status = (await server.PostAsync(Chat, new ByteArrayContent(body[..random.Next(body.Length / 2, body.Length + 1)]))).Status;
            Assert.That(status, Is.EqualTo(200).Or.InRange(400, 415), Convert.ToHexString(body));
        }

        server.ExpectNoLeak();
        Assert.That(server.Log.Since(known), Is.Not.Empty.And.None.StartsWith("Error"));
    }

    [Test]
    public async Task Streams_end_in_their_own_form_when_the_server_stops()
    {
        RunningServer server = await RunningServer.StartAsync(o => o.ShutdownGrace = TimeSpan.FromMilliseconds(50), model: o => o.ContextLength = 8192);
        await using (server)
        {
            using HttpResponseMessage response = await BeginAsync(server, Endless.Replace("2000", "8000", StringComparison.Ordinal));
            Task stopping = server.StopAsync();
            string body = await response.Content.ReadAsStringAsync();
            await stopping;
            string[] events = body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
            Assert.That(events[^1], Is.EqualTo("data: [DONE]"));
            Assert.That(events[^2], Does.Contain("shutting_down"));
        }
    }

    [TestCase(30_000, 300_000, 305_000)]
    [TestCase(30_000, 10_000, 30_000, Description = "longer")]
    [TestCase(-1, 300_000, -1, Description = "without end")]
    public async Task A_host_has_at_least_the_time_that_answers_have_to_finish(int host, int grace, int expected)
    {
        await using RunningServer server = await StartAsync(host, grace);
        Assert.That(server.ShutdownTimeout, Is.EqualTo(TimeSpan.FromMilliseconds(expected)));
    }

    /// <summary>A host aborts all connections once its own time is over, and no end of a stream would be sent.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Streams_end_in_their_own_form_where_the_host_has_no_time(CancellationToken cancellationToken)
    {
        await using RunningServer server = await StartAsync(host: 0, grace: 50);
        using HttpResponseMessage response = await BeginAsync(server, Endless.Replace("2000", "8000", StringComparison.Ordinal));
        Task stopping = server.StopAsync();
        Assert.That(await response.Content.ReadAsStringAsync(cancellationToken), Does.Contain("shutting_down").And.EndWith("data: [DONE]\n\n"));
        await stopping;
    }

    [Test]
    public async Task Tells_whether_it_is_ready()
    {
        RunningServer server = await SharedServers.Plain;
        _ = server.Model;
        using HttpResponseMessage ready = await server.Http.GetAsync("/ready");
        Assert.That((int)ready.StatusCode, Is.EqualTo(200));
        Assert.That(JsonDocument.Parse(await ready.Content.ReadAsStringAsync()).RootElement.GetProperty("model").GetString(), Is.EqualTo("kimi-nano"));
        await using RunningServer broken = await RunningServer.StartAsync(model: o => (o.Embedded, o.ModelPath) = (false, Repository.Checkpoint("..")));
        Assert.That((await broken.PostAsync(Chat, Short)).Status, Is.EqualTo(503));
        using HttpResponseMessage never = await broken.Http.GetAsync("/ready");
        Assert.That((int)never.StatusCode, Is.EqualTo(503));
        using HttpResponseMessage alive = await broken.Http.GetAsync("/health");
        Assert.That((int)alive.StatusCode, Is.EqualTo(200));
    }

    /// <summary>Who sends calls only where it is ready would never send the one that opens it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_the_first_call_opens_is_ready_for_it(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(model: o => o.OpenAtStart = false);
        using HttpResponseMessage before = await server.Http.GetAsync("/ready", cancellationToken);
        Assert.That(((int)before.StatusCode, await before.Content.ReadAsStringAsync(cancellationToken)), Is.EqualTo((200, """{"status":"closed","model":"kimi-nano"}""")));
        Assert.That((await server.PostAsync(Chat, Short)).Status, Is.EqualTo(200));
        server.ModelHost.IsOpenedByProgram = true;
        using HttpResponseMessage after = await server.Http.GetAsync("/ready", cancellationToken);
        Assert.That((int)after.StatusCode, Is.EqualTo(200));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_model_that_could_not_be_opened_becomes_ready_with_nothing_but_questions_whether_it_is(CancellationToken cancellationToken)
    {
        string folder = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            await using RunningServer server = await RunningServer.StartAsync(model: o => (o.Embedded, o.ModelPath) = (false, folder));
            Assert.That(async () => await StatusAsync(), Is.EqualTo((503, "failed")).After(30_000, 20));
            Assert.That(await StatusAsync(), Is.EqualTo((503, "failed")));
            Assert.That(server.Log.Lines, Has.Exactly(1).Contains("could not be opened"), "not at every question");
            server.ModelHost.TimeToTryAgain = TimeSpan.Zero;
            foreach (string file in Directory.GetFiles(Repository.NanoModel))
            {
                File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
            }

            Assert.That(async () => await StatusAsync(), Is.EqualTo((200, "ready")).After(30_000, 20));

            async Task<(int Status, string? Word)> StatusAsync()
            {
                using HttpResponseMessage response = await server.Http.GetAsync("/ready", cancellationToken);
                return ((int)response.StatusCode, JsonDocument.Parse(await response.Content.ReadAsStringAsync(cancellationToken)).RootElement.GetProperty("status").GetString());
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>To look up each field of many by its name would take a core for minutes.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Objects_of_too_many_fields_are_refused_before_they_are_read(CancellationToken cancellationToken)
    {
        const int Fields = 200_000;
        RunningServer server = await SharedServers.Plain;
        string fields = string.Join(',', Enumerable.Range(0, Fields).Select(i => $"\"{i}\":1"));
        foreach ((string path, string begin, string name, string limit) in new[]
        {
            (Chat, """{"messages":[{"role":"user","content":"Hi"}]""", "logit_bias", "1024 tokens"),
            ("/v1/responses", "{\"input\":\"Hi\"", "metadata", "16 fields"),
        })
        {
            var content = new StringContent($"{begin},\"{name}\":{{{fields}}}}}", Encoding.UTF8, "application/json");
            using HttpResponseMessage response = await server.Http.PostAsync(path, content, cancellationToken);
            JsonElement error = JsonDocument.Parse(await response.Content.ReadAsStringAsync(cancellationToken)).RootElement.GetProperty("error");
            Assert.That(((int)response.StatusCode, error.GetProperty("param").GetString()), Is.EqualTo((400, name)));
            Assert.That(error.GetProperty("message").GetString(), Does.Contain($"takes at most {limit}; found {Fields}."));
        }
    }

    /// <summary>A server that is full of them would need many times its memory, beside experts that were planned to fill it.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task Large_bodies_take_a_few_times_their_bytes(CancellationToken cancellationToken)
    {
        const int Bytes = 4 << 20;
        RunningServer server = await SharedServers.Plain;
        string text = string.Concat(Enumerable.Range(0, Bytes / 2).Select(i => $"{(char)('a' + (i % 26))}{i % 10}"));
        string images = string.Join(',', Enumerable.Repeat('1', Bytes / 2));
        int longest = Enumerable.Range(0, 1000).MaxBy(t => server.Model.Tokenizer.GetBytes(t).Length);
        string tokens = string.Join(',', Enumerable.Repeat(longest, Bytes / 4));
        foreach ((string path, string body, int expected, int times) in new[]
        {
            ("/tokenize", $"{{\"prompt\":\"{text}\"}}", 200, 32),
            ("/detokenize", $"{{\"tokens\":[{tokens}]}}", 200, 24),
            ("/api/chat", $$"""{"model":"kimi-nano","messages":[{"role":"user","images":[{{images}}]}]}""", 400, 24),
        })
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new ByteArrayContent(Encoding.UTF8.GetBytes(body)) };
            long before = GC.GetTotalAllocatedBytes(precise: true);
            using HttpResponseMessage response = await server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
            await response.Content.CopyToAsync(Stream.Null, cancellationToken);
            long allocated = GC.GetTotalAllocatedBytes(precise: true) - before;
            Assert.That((int)response.StatusCode, Is.EqualTo(expected), path);
            Assert.That(allocated, Is.LessThan((long)times * Bytes), $"{path} took {(double)allocated / Bytes:F1} times its body");
        }
    }

    [Test]
    public async Task Names_that_clients_make_up_are_cut_and_cannot_move_a_terminals_cursor()
    {
        RunningServer server = await SharedServers.Plain;
        string name = "\u001b[2J\n\u202e" + new string('\u00e6', 5000);
        (int status, JsonElement body, _) = await server.PostAsync(Chat, JsonSerializer.Serialize(new Dictionary<string, object> { ["messages"] = Array.Empty<string>(), [name] = 1 }));
        Assert.That((status, body.GetProperty("error").GetProperty("code").GetString()), Is.EqualTo((400, "unknown_parameter")));
        Assert.That(body.GetProperty("error").GetProperty("param").GetString(), Has.Length.LessThan(200));
        string[] refused = [.. server.Log.Lines.Where(l => l.Contains('\u00e6', StringComparison.Ordinal))];
        Assert.That(refused, Has.Length.EqualTo(1));
        Assert.That(refused.Single(), Has.Length.LessThan(300));
        Assert.That(refused.Single(), Does.Contain("\\u001B[2J\\u000A\\u202E").And.Contain("…").And.Not.Contain("\u001b"));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_body_that_does_not_arrive_gives_its_place_back(CancellationToken cancellationToken)
    {
        // Kestrel has a limit of its own, of a rate, at which a body of some megabytes may take hours.
        await using RunningServer server = await RunningServer.StartAsync(
            o => (o.MaxRequests, o.BodyTime) = (1, TimeSpan.FromMilliseconds(200)),
            host: b => b.Services.Configure<KestrelServerOptions>(o => o.Limits.MinRequestBodyDataRate = null));
        using var slow = new TcpClient();
        await slow.ConnectAsync(server.Http.BaseAddress!.Host, server.Http.BaseAddress.Port, cancellationToken);
        await using NetworkStream stream = slow.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST {Chat} HTTP/1.1\r\nHost: {server.Http.BaseAddress.Authority}\r\nContent-Length: 500\r\n\r\n{{\"mess"), cancellationToken);
        using var reader = new StreamReader(stream);
        string answer = await reader.ReadToEndAsync(cancellationToken);
        Assert.That(answer, Does.StartWith("HTTP/1.1 408 ").And.Contain("Connection: close").And.Contain("had not arrived after 0.2 seconds, with 6 bytes until then"));
        await ExpectRoomAsync(server);
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task A_body_that_still_arrives_when_the_server_stops_is_not_waited_for(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(
            o => o.ShutdownGrace = TimeSpan.FromMilliseconds(50),
            host: b => b.Services.Configure<KestrelServerOptions>(o => o.Limits.MinRequestBodyDataRate = null));
        using var slow = new TcpClient();
        await slow.ConnectAsync(server.Http.BaseAddress!.Host, server.Http.BaseAddress.Port, cancellationToken);
        await using NetworkStream stream = slow.GetStream();
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST {Chat} HTTP/1.1\r\nHost: {server.Http.BaseAddress.Authority}\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n"), cancellationToken);

        // The server asks for the body once it begins to read it.
        using var reader = new StreamReader(stream);
        Assert.That(await reader.ReadLineAsync(cancellationToken), Is.EqualTo("HTTP/1.1 100 Continue"));
        Assert.That(await reader.ReadLineAsync(cancellationToken), Is.Empty);
        Task stopping = server.StopAsync();
        Assert.That(await reader.ReadLineAsync(cancellationToken), Does.StartWith("HTTP/1.1 503 "));
        slow.Close();
        await stopping;
    }

    /// <param name="host">Milliseconds that the host has to stop.</param>
    /// <param name="grace">Milliseconds that answers have to finish.</param>
    private static Task<RunningServer> StartAsync(int host, int grace) => RunningServer.StartAsync(
        o => o.ShutdownGrace = TimeSpan.FromMilliseconds(grace),
        o => (o.ContextLength, o.OpenAtStart) = (8192, false),
        b => b.Services.Configure<HostOptions>(o => o.ShutdownTimeout = TimeSpan.FromMilliseconds(host)));

    private static async Task ExpectRefusalAsync(RunningServer server)
    {
        // A stream as well, before it has begun.
        foreach (string request in new[] { Short, Short.Replace("\"max", "\"stream\":true,\"max", StringComparison.Ordinal) })
        {
            (int status, JsonElement body, HttpResponseMessage response) = await server.PostAsync(Chat, request, ("x-api-key", RunningServer.Key));
            Assert.That((status, body.GetProperty("error").GetProperty("code").GetString()), Is.EqualTo((429, "rate_limit_exceeded")));
            Assert.That(response.Headers.RetryAfter!.Delta, Is.GreaterThan(TimeSpan.Zero));
        }
    }

    private static async Task ExpectRoomAsync(RunningServer server)
    {
        Assert.That(async () => (await server.PostAsync(Chat, Short, ("x-api-key", RunningServer.Key))).Status, Is.EqualTo(200).After(10_000, 50), "the client that went away made room");
        server.ExpectNoLeak();
    }

    private static Task<HttpResponseMessage> BeginAsync(RunningServer server, string completion) => server.Http.SendAsync(
        new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent(completion, Encoding.UTF8, "application/json") }, HttpCompletionOption.ResponseHeadersRead);
}
