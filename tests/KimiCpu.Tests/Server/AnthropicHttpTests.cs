// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using KimiCpu.Server.Anthropic;
using KimiCpu.Server.Http;

namespace KimiCpu.Tests.Server;

/// <summary>Anthropic's interface, event by event as it is documented.</summary>
[TestFixture]
internal sealed partial class AnthropicHttpTests
{
    private const string Path = "/v1/messages";
    private const string Tool = """{"name":"get_weather","description":"Get the current weather for a city.","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}""";

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await SharedServers.Plain;

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_with_blocks_and_usage()
    {
        (int status, JsonElement body, _) = await PostAsync("""{"model":"kimi-nano","max_tokens":300,"temperature":0,"thinking":{"type":"enabled","budget_tokens":1024},"messages":[{"role":"user","content":"What is the capital of France?"}]}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(body.GetProperty("content").EnumerateArray().Select(b => b.GetProperty("type").GetString()), Is.EqualTo(new[] { "thinking", "text" }));
        Assert.That(body.GetProperty("content")[1].GetProperty("text").GetString(), Does.Contain("Paris"));
        Assert.That(body.GetProperty("stop_reason").GetString(), Is.EqualTo("end_turn"));
        (_, JsonElement silent, _) = await PostAsync("""{"model":"kimi-nano","max_tokens":300,"temperature":0,"messages":[{"role":"user","content":[{"type":"text","text":"What is the capital of France?"}]}]}""");
        Assert.That(silent.GetProperty("content").EnumerateArray().Select(b => b.GetProperty("type").GetString()), Is.EqualTo(new[] { "text" }), "nobody asked for reasoning");
    }

    [Test]
    public async Task Counts_tokens_as_the_answer_does()
    {
        const string messages = """[{"role":"user","content":"Weather in Oslo?"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Oslo"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"12 degrees"}]},{"type":"text","text":"And?"}]}]""";
        (_, JsonElement count, _) = await _server.PostAsync($"{Path}/count_tokens", $$"""{"model":"kimi-nano","system":"Be brief.","tools":[{{Tool}}],"messages":{{messages}}}""");
        (_, JsonElement body, _) = await PostAsync($$$"""{"model":"kimi-nano","max_tokens":5,"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"tools":[{{{Tool}}}],"messages":{{{messages}}}}""");
        JsonElement usage = body.GetProperty("usage");
        Assert.That(usage.GetProperty("input_tokens").GetInt32() + usage.GetProperty("cache_read_input_tokens").GetInt32(), Is.EqualTo(count.GetProperty("input_tokens").GetInt32()).And.GreaterThan(40));
    }

    /// <summary>None of the results names a call, so that each could be one of all.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task As_many_calls_and_results_as_a_body_holds_take_no_core_for_minutes(CancellationToken cancellationToken)
    {
        const int Blocks = 4096;
        const int Messages = 24;
        string calls = string.Join(',', Enumerable.Repeat("""{"type":"tool_use","id":"a","name":"f"}""", Blocks));
        string results = string.Join(',', Enumerable.Repeat("""{"type":"tool_result","tool_use_id":"b"}""", Blocks));
        IEnumerable<string> messages = [
            """{"role":"user","content":"x"}""",
            .. Enumerable.Repeat($$"""{"role":"assistant","content":[{{calls}}]},{"role":"user","content":"y"}""", Messages),
            .. Enumerable.Repeat($$"""{"role":"user","content":[{{results}}]}""", Messages)];
        string body = $$"""{"model":"kimi-nano","messages":[{{string.Join(',', messages)}}]}""";
        using HttpResponseMessage response = await _server.Http.PostAsync($"{Path}/count_tokens", new StringContent(body, Encoding.UTF8, "application/json"), cancellationToken);
        JsonElement count = JsonElement.Parse(await response.Content.ReadAsStringAsync(cancellationToken));
        Assert.That(count.GetProperty("input_tokens").GetInt32(), Is.GreaterThan(10 * Blocks * Messages));
    }

    [Test]
    public async Task Streams_blocks_that_begin_grow_and_end()
    {
        string request = $$"""{"model":"kimi-nano","max_tokens":600,"temperature":0,"thinking":{"type":"enabled","budget_tokens":1024},"tools":[{{Tool}}],"tool_choice":{"type":"tool","name":"get_weather"},"messages":[{"role":"user","content":"What is the weather in Oslo?"}]""";
        (_, JsonElement whole, _) = await PostAsync(request + "}");
        using HttpResponseMessage response = await _server.Http.PostAsync(Path, new StringContent(request + ""","stream":true}""", Encoding.UTF8, "application/json"));
        List<(string Type, JsonElement Data)> events = [.. (await response.Content.ReadAsStringAsync()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(e =>
        {
            string[] lines = e.Split('\n');
            return (lines[0]["event: ".Length..], JsonDocument.Parse(lines[1]["data: ".Length..]).RootElement);
        })];
        Assert.That(events.Select(e => e.Data.GetProperty("type").GetString()), Is.EqualTo(events.Select(e => e.Type)));
        Assert.That(events[0].Type, Is.EqualTo("message_start"));
        Assert.That(events[^1].Type, Is.EqualTo("message_stop"));
        Assert.That(events[^2].Data.GetProperty("delta").GetProperty("stop_reason").GetString(), Is.EqualTo("tool_use"));
        int open = -1;
        string json = "";
        string last = "";
        foreach ((string type, JsonElement data) in events)
        {
            switch (type)
            {
                case "content_block_start":
                    Assert.That(data.GetProperty("index").GetInt32(), Is.EqualTo(++open));
                    last = data.GetProperty("content_block").GetProperty("type").GetString()!;
                    break;
                case "content_block_delta":
                    Assert.That(data.GetProperty("index").GetInt32(), Is.EqualTo(open));
                    json += data.GetProperty("delta").TryGetProperty("partial_json", out JsonElement piece) ? piece.GetString() : "";
                    break;
            }
        }

        Assert.That(last, Is.EqualTo("tool_use"));
        Assert.That(events.Count(e => e.Type == "content_block_stop"), Is.EqualTo(open + 1));
        JsonElement block = whole.GetProperty("content").EnumerateArray().Last();
        Assert.That(JsonElement.DeepEquals(JsonDocument.Parse(json).RootElement, block.GetProperty("input")));
        Assert.That(block.GetProperty("id").GetString(), Does.StartWith("toolu_"));
    }

    [Test]
    public async Task Names_the_sequence_that_ended_the_answer()
    {
        (_, JsonElement body, _) = await PostAsync("""{"model":"kimi-nano","max_tokens":300,"temperature":0,"stop_sequences":["zzz"," is"],"messages":[{"role":"user","content":"What is the capital of France?"}]}""");
        Assert.That((body.GetProperty("stop_reason").GetString(), body.GetProperty("stop_sequence").GetString()), Is.EqualTo(("stop_sequence", " is")));
        Assert.That(body.GetProperty("content")[0].GetProperty("text").GetString(), Does.Not.Contain(" is"));

        // The first of them is in the thoughts alone.
        (_, JsonElement thought, _) = await PostAsync("""{"model":"kimi-nano","max_tokens":1500,"temperature":0,"thinking":{"type":"enabled","budget_tokens":1024},"stop_sequences":["France","The capital"],"messages":[{"role":"user","content":"What is the capital of France?"}]}""");
        Assert.That(thought.GetProperty("content")[0].GetProperty("thinking").GetString(), Does.Contain("France"));
        Assert.That(thought.GetProperty("stop_sequence").GetString(), Is.EqualTo("The capital"));
    }

    [TestCase("""{"model":"kimi-nano","messages":[{"role":"user","content":"x"}]}""", 400, "invalid_request_error", "max_tokens")]
    [TestCase("""{"model":"other","max_tokens":5,"messages":[{"role":"user","content":"x"}]}""", 404, "not_found_error", "other")]
    [TestCase("""{"model":"kimi-nano","max_tokens":5,"messages":[{"role":"user","content":[{"type":"image"}]}]}""", 400, "invalid_request_error", "messages[0].content[0].type")]
    [TestCase("""{"model":"kimi-nano","max_tokens":5,"frobnicate":1,"messages":[{"role":"user","content":"x"}]}""", 400, "invalid_request_error", "frobnicate")]
    [TestCase("""{"model":"kimi-nano","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}""", 400, "invalid_request_error", "tools[0].type")]
    [TestCase("""{"model":"kimi-nano","max_tokens":5,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"between_tools"}}""", 400, "invalid_request_error", "enabled, adaptive or disabled; found 'between_tools'")]
    [TestCase("""{"model":"kimi-nano","max_tokens":0,"messages":[{"role":"user","content":"x"}]}""", 400, "invalid_request_error", "max_tokens is not supported: 0 fills the cache")]
    [TestCase("""{"model":"kimi-nano","max_tokens":-5,"messages":[{"role":"user","content":"x"}]}""", 400, "invalid_request_error", "max_tokens takes a whole number, 1 or more; found -5.")]
    [TestCase("""{"model":"kimi-nano","max_tokens":"many","messages":[{"role":"user","content":"x"}]}""", 400, "invalid_request_error", "max_tokens takes a whole number, 1 or more; found 'many'.")]
    [TestCase("nonsense", 400, "invalid_request_error", "JSON")]
    public async Task Refuses_in_its_own_form(string request, int expected, string type, string named)
    {
        (int status, JsonElement body, _) = await PostAsync(request);
        Assert.That((status, body.GetProperty("type").GetString(), body.GetProperty("error").GetProperty("type").GetString()), Is.EqualTo((expected, "error", type)));
        Assert.That(body.GetProperty("error").GetProperty("message").GetString(), Does.Contain(named));
    }

    /// <summary>Clients ask for less, or shorten the conversation, where they find these words and numbers.</summary>
    [Test]
    public async Task Says_in_the_clients_words_that_a_conversation_has_outgrown_the_context()
    {
        string half = $$"""{"model":"kimi-nano","messages":[{"role":"user","content":"{{string.Concat(Enumerable.Repeat("one two three ", 200))}}"}]""";
        int prompt = await CountAsync(half);
        Match found = InputAndAnswer().Match(await RefusedAsync($$"""{{half}},"max_tokens":2000}"""));
        Assert.That(found.Groups.Values.Skip(1).Select(g => g.Value), Is.EqualTo(new[] { $"{prompt}", "2000", "2048" }));

        string whole = $$"""{"model":"kimi-nano","messages":[{"role":"user","content":"{{string.Concat(Enumerable.Repeat("one two three ", 2000))}}"}]""";
        prompt = await CountAsync(whole);
        found = Prompt().Match(await RefusedAsync($$"""{{whole}},"max_tokens":2000}"""));
        Assert.That(found.Groups.Values.Skip(1).Select(g => g.Value), Is.EqualTo(new[] { $"{prompt}", "1920" }));

        async Task<int> CountAsync(string request) => (await _server.PostAsync($"{Path}/count_tokens", request + "}")).Body.GetProperty("input_tokens").GetInt32();

        async Task<string> RefusedAsync(string request)
        {
            (int status, JsonElement body, _) = await PostAsync(request);
            string message = body.GetProperty("error").GetProperty("message").GetString()!;
            Assert.That(status, Is.EqualTo(400), message);
            Assert.That(message, Does.EndWith("KimiModelOptions.ContextLength raises the limit, up to 8192."));
            return message;
        }
    }

    [Test]
    public async Task Ignores_what_says_nothing_about_the_answer()
    {
        (int status, JsonElement body, _) = await PostAsync("""
            {"model":"kimi-nano","max_tokens":2,"messages":[{"role":"user","content":"x"}],"diagnostics":{"previous_message_id":"msg_1"},"speed":"standard","service_tier":"auto","user_profile_id":"u","workspace_id":"w"}
            """);
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
    }

    [TestCase(403, 403, "permission_error")]
    [TestCase(413, 413, "request_too_large")]
    [TestCase(500, 500, "api_error")]
    [TestCase(503, 529, "overloaded_error")]
    [TestCase(504, 504, "timeout_error")]
    public void Names_errors_as_the_interface_does(int status, int shown, string type)
    {
        var error = new RequestException(status, "It went wrong.");
        Assert.That((AnthropicDialect.Instance.StatusOf(error), (string?)AnthropicDialect.Instance.Error(error, "req_1")["error"]!["type"]), Is.EqualTo((shown, type)));
    }

    [Test]
    public async Task Says_in_the_clients_words_that_it_keeps_no_conversations()
    {
        (int status, JsonElement body, HttpResponseMessage response) = await PostAsync("""{"model":"kimi-nano","max_tokens":5,"thread":{"type":"create"},"messages":[{"role":"user","content":"x"}]}""");
        JsonElement error = body.GetProperty("error");
        Assert.That((status, error.GetProperty("type").GetString(), error.GetProperty("details").GetProperty("error_code").GetString()), Is.EqualTo((400, "invalid_request_error", "thread_unsupported_request")));
        Assert.That(response.Headers.GetValues("request-id").Single(), Is.EqualTo(body.GetProperty("request_id").GetString()));
        (status, body, _) = await PostAsync("""{"model":"kimi-nano","max_tokens":5,"thread":null,"messages":[{"role":"user","content":"x"}]}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
    }

    [Test]
    public async Task Lists_its_model_to_clients_that_name_a_version_of_the_interface()
    {
        _ = _server.Model;
        JsonElement list = await GetAsync("/v1/models");
        Assert.That((list.GetProperty("first_id").GetString(), list.GetProperty("has_more").GetBoolean()), Is.EqualTo(("kimi-nano", false)));
        JsonElement model = await GetAsync("/v1/models/kimi-nano");
        Assert.That(JsonElement.DeepEquals(list.GetProperty("data").EnumerateArray().Single(), model));
        Assert.That((model.GetProperty("type").GetString(), model.GetProperty("id").GetString()), Is.EqualTo(("model", "kimi-nano")));
        Assert.That(model.GetProperty("created_at").GetDateTimeOffset(), Is.EqualTo(DateTimeOffset.UtcNow).Within(TimeSpan.FromDays(1)));
        Assert.That(model.GetProperty("max_input_tokens").GetInt32(), Is.EqualTo(1920), "clients shorten a conversation in time where they know");
        string[] unknown = ["max_tokens", "capabilities", "line", "deprecated_at", "retires_at"];
        Assert.That(unknown.Select(n => model.GetProperty(n).ValueKind), Is.All.EqualTo(JsonValueKind.Null), "documented as always there");
        Assert.That((await GetAsync("/v1/models/other")).GetProperty("error").GetProperty("type").GetString(), Is.EqualTo("not_found_error"));
    }

    private async Task<JsonElement> GetAsync(string path)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        request.Headers.Add("anthropic-version", "2023-06-01");
        using HttpResponseMessage response = await _server.Http.SendAsync(request);
        return JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
    }

    private Task<(int Status, JsonElement Body, HttpResponseMessage Response)> PostAsync(string json) => _server.PostAsync(Path, json);

    [GeneratedRegex(@"^input length and `max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)")]
    private static partial Regex InputAndAnswer();

    [GeneratedRegex(@"^prompt is too long: (\d+) tokens > (\d+) maximum")]
    private static partial Regex Prompt();
}
