// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace KimiCpu.Tests.Server;

/// <summary>The interface for responses, event by event as it is documented.</summary>
[TestFixture]
internal sealed class ResponsesHttpTests
{
    private const string Responses = "/v1/responses";
    private const string Tool = """{"type":"function","name":"get_weather","description":"Get the current weather for a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}""";
    private const string Call = $$"""{"input":"What is the weather in Oslo?","temperature":0,"reasoning":{"effort":"none"},"tools":[{{Tool}}],"tool_choice":"required","parallel_tool_calls":false""";

    private static readonly string[] s_text = ["response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done"];
    private static readonly string[] s_call = ["response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.output_item.done"];

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await SharedServers.Plain;

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Streams_items_that_begin_grow_and_end()
    {
        const string request = """{"model":"kimi-nano","input":"What is the capital of France?","temperature":0""";
        JsonElement whole = await AnswerAsync(request + "}");
        List<JsonElement> events = await StreamAsync(request + ""","stream":true}""");
        string[] reasoning = [.. s_text.Select(t => t.Replace("output_text", "reasoning_text", StringComparison.Ordinal))];
        Assert.That(Kinds(events), Is.EqualTo((string[])["response.created", "response.in_progress", .. reasoning, .. s_text, "response.completed"]));
        ExpectWhatWasStreamed(events, whole);
    }

    [Test]
    public async Task Streams_reasoning_as_a_summary_where_one_is_asked_for()
    {
        List<JsonElement> events = await StreamAsync("""{"input":"What is the capital of France?","temperature":0,"reasoning":{"summary":"auto"},"stream":true}""");
        string[] summary = ["response.output_item.added", "response.reasoning_summary_part.added", "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "response.reasoning_summary_part.done", "response.output_item.done"];
        Assert.That(Kinds(events), Is.EqualTo((string[])["response.created", "response.in_progress", .. summary, .. s_text, "response.completed"]));
        Assert.That(events.Where(e => TypeOf(e).Contains("summary", StringComparison.Ordinal)).Select(e => e.GetProperty("summary_index").GetInt32()), Is.All.Zero);
    }

    [Test]
    public async Task Streams_calls_and_says_which_was_cut_off()
    {
        JsonElement whole = await AnswerAsync(Call + "}");
        List<JsonElement> events = await StreamAsync(Call + ""","stream":true}""");
        Assert.That(Kinds(events), Is.EqualTo((string[])["response.created", "response.in_progress", .. s_call, "response.completed"]));
        ExpectWhatWasStreamed(events, whole);

        int tokens = whole.GetProperty("usage").GetProperty("output_tokens").GetInt32();

        // Only what ends the call is missing then, and the call is as good as any.
        string ended = $$"""{{Call}},"max_output_tokens":{{tokens - 1}}""";
        events = await StreamAsync(ended + ""","stream":true}""");
        Assert.That(Kinds(events), Is.EqualTo((string[])["response.created", "response.in_progress", .. s_call, "response.incomplete"]));
        Assert.That(events[^1].GetProperty("response").GetProperty("output")[0].GetProperty("status").GetString(), Is.EqualTo("completed"));
        ExpectWhatWasStreamed(events, await AnswerAsync(ended + "}"));

        string cut = $$"""{{Call}},"max_output_tokens":{{tokens - 2}}""";
        events = await StreamAsync(cut + ""","stream":true}""");
        Assert.That(Kinds(events), Is.EqualTo((string[])["response.created", "response.in_progress", .. s_call, "response.incomplete"]));
        JsonElement response = events[^1].GetProperty("response");
        Assert.That(response.GetProperty("incomplete_details").GetProperty("reason").GetString(), Is.EqualTo("max_output_tokens"));
        Assert.That(response.GetProperty("output")[0].GetProperty("status").GetString(), Is.EqualTo("incomplete"));
        ExpectWhatWasStreamed(events, await AnswerAsync(cut + "}"));
    }

    [Test]
    public async Task Says_again_what_was_asked()
    {
        JsonElement response = await AnswerAsync($$"""
            {"model":"kimi-nano","input":[{"role":"user","content":"Hi"}],"instructions":"Be brief.","max_output_tokens":4.0,"temperature":0.25,"top_p":0,"store":true,"background":false,"truncation":"disabled",
             "metadata":{"run":"7"},"client_metadata":{"session":"1"},"tools":[{{Tool}}],"tool_choice":"none","parallel_tool_calls":false,"reasoning":{"effort":"low"},"text":{"verbosity":"low"},"user":"u","prompt_cache_key":"k",
             "include":["reasoning.encrypted_content"],"service_tier":"auto","safety_identifier":"s","max_tool_calls":3}
            """);
        var expected = JsonNode.Parse($$$"""
            {"object":"response","model":"kimi-nano","status":"incomplete","instructions":"Be brief.","max_output_tokens":4,"temperature":0.25,"top_p":0,"store":false,"background":false,"truncation":"disabled",
             "metadata":{"run":"7"},"tools":[{{{Tool}}}],"tool_choice":"none","parallel_tool_calls":false,"reasoning":{"effort":"low","summary":null},"text":{"verbosity":"low","format":{"type":"text"}},"user":"u",
             "prompt_cache_key":"k","safety_identifier":"s","max_tool_calls":3,"previous_response_id":null,"error":null}
            """)!.AsObject();
        foreach ((string name, JsonNode? value) in expected)
        {
            Assert.That(JsonNode.DeepEquals(JsonNode.Parse(response.GetProperty(name).GetRawText()), value), name);
        }

        Assert.That(response.GetProperty("max_output_tokens").GetRawText(), Is.EqualTo("4"), "clients with types read a whole number");
    }

    /// <summary>A text that was cut within a character, as by slice of JavaScript, in a field that is only said again.</summary>
    [TestCase("metadata", """{"title":"\ud83d"}""", """{"title":"\ufffd"}""")]
    [TestCase("user", "\"\\ud83d\"", "\"\\ufffd\"")]
    [TestCase("prompt_cache_key", "\"\\ud83d\"", "\"\\ufffd\"")]
    public async Task What_is_no_whole_text_is_said_again_as_it_was_read(string name, string value, string expected)
    {
        string request = $$"""{"input":"Hi","max_output_tokens":4,"{{name}}":{{value}}""";
        JsonElement[] responses = [await AnswerAsync(request + "}"), .. (await StreamAsync(request + ",\"stream\":true}")).Where(e => e.TryGetProperty("response", out _)).Select(e => e.GetProperty("response"))];
        Assert.That(responses.Select(r => JsonElement.DeepEquals(r.GetProperty(name), JsonElement.Parse(expected))), Is.All.True);
    }

    [Test]
    public async Task Of_a_field_that_is_there_twice_the_last_one_is_said_again()
    {
        JsonElement response = await AnswerAsync("""{"input":"Hi","max_output_tokens":4,"reasoning":{"effort":"high","effort":"low","mode":"standard"},"text":{"verbosity":"low","verbosity":"high"}}""");
        Assert.That(response.GetProperty("reasoning").GetRawText(), Is.EqualTo("""{"effort":"low","summary":null,"mode":"standard"}"""));
        Assert.That(response.GetProperty("text").GetRawText(), Is.EqualTo("""{"format":{"type":"text"},"verbosity":"high"}"""));
    }

    [Test]
    public async Task Answers_go_back_in_as_they_came_out()
    {
        JsonElement asked = await AnswerAsync($$"""{"input":"What is the weather in Oslo?","temperature":0,"tools":[{{Tool}}],"tool_choice":"required"}""");
        string[] output = [.. asked.GetProperty("output").EnumerateArray().Select(i => i.GetRawText())];
        string[] results = [.. asked.GetProperty("output").EnumerateArray().Where(i => TypeOf(i) == "function_call").Select(i =>
            $$"""{"type":"function_call_output","call_id":{{i.GetProperty("call_id").GetRawText()}},"output":[{"type":"input_text","text":"12 degrees"}]}""")];
        Assert.That(results, Is.Not.Empty);
        string input = string.Join(',', [.. output, .. results]);
        JsonElement answer = await AnswerAsync($$"""{"input":[{"role":"user","content":"What is the weather in Oslo?"},{{input}}],"temperature":0,"tools":[{{Tool}}]}""");
        Assert.That(answer.GetProperty("status").GetString(), Is.EqualTo("completed"), answer.GetRawText());
        int cached = answer.GetProperty("usage").GetProperty("input_tokens_details").GetProperty("cached_tokens").GetInt32();
        Assert.That(cached, Is.GreaterThan(asked.GetProperty("usage").GetProperty("input_tokens").GetInt32()), "the reasoning and the call are in the cache as well");
    }

    [TestCase("{}", "input")]
    [TestCase("""{"input":[]}""", "input")]
    [TestCase("""{"input":7}""", "input")]
    [TestCase("""{"input":[{}]}""", "input[0].type")]
    [TestCase("""{"input":[{"type":"message","role":"user"}]}""", "input[0].content")]
    [TestCase("""{"input":[{"role":"pirate","content":"x"}]}""", "input[0].role")]
    [TestCase("""{"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]}""", "input[0].content[0].type")]
    [TestCase("""{"input":[{"type":"item_reference","id":"msg_1"}]}""", "input[0].type")]
    [TestCase("""{"input":[{"type":"web_search_call","id":"ws_1"}]}""", "input[0].type")]
    [TestCase("""{"input":[{"type":"function_call_output","output":"x"}]}""", "input[0].call_id")]
    [TestCase("""{"input":"x","previous_response_id":"resp_1"}""", "previous_response_id")]
    [TestCase("""{"input":"x","conversation":"conv_1"}""", "conversation")]
    [TestCase("""{"input":"x","prompt":{"id":"p"}}""", "prompt")]
    [TestCase("""{"input":"x","background":true}""", "background")]
    [TestCase("""{"input":"x","truncation":"auto"}""", "truncation")]
    [TestCase("""{"input":"x","store":"yes"}""", "store")]
    [TestCase("""{"input":"x","metadata":{"run":7}}""", "metadata.run")]
    [TestCase("""{"input":"x","max_tokens":7}""", "max_tokens")]
    [TestCase("""{"input":"x","messages":[]}""", "messages")]
    [TestCase("""{"input":"x","max_output_tokens":0}""", "max_output_tokens")]
    [TestCase("""{"input":"x","max_output_tokens":100000}""", "input")]
    [TestCase("""{"input":"x","top_logprobs":3}""", "top_logprobs")]
    [TestCase("""{"input":"x","include":["everything"]}""", "include")]
    [TestCase("""{"input":"x","reasoning":{"effort":"enormous"}}""", "reasoning.effort")]
    [TestCase("""{"input":"x","reasoning":{"summary":"rhymed"}}""", "reasoning.summary")]
    [TestCase("""{"input":"x","reasoning":{"mode":"pro"}}""", "reasoning.mode")]
    [TestCase("""{"input":"x","tools":[{"type":"web_search"}]}""", "tools[0].type")]
    [TestCase("""{"input":"x","tools":[{"type":"function"}]}""", "tools[0].name")]
    [TestCase("""{"input":"x","tool_choice":"required"}""", "tool_choice")]
    [TestCase("""{"input":"x","tool_choice":{"type":"allowed_tools"}}""", "tool_choice.type")]
    [TestCase("""{"input":"x","tool_choice":{"type":"function","name":"f"}}""", "tool_choice.name")]
    [TestCase("""{"input":"x","text":{"format":{"type":"json_schema","name":"x","schema":{"not":{}}}}}""", "text.format.schema")]
    [TestCase("""{"input":"x","text":{"format":{"type":"xml"}}}""", "text.format.type")]
    public async Task Refuses_what_is_wrong_by_its_name(string request, string parameter)
    {
        (int status, JsonElement body, _) = await _server.PostAsync(Responses, request);
        JsonElement error = body.GetProperty("error");
        Assert.That(status, Is.EqualTo(400), body.GetRawText());
        Assert.That(error.GetProperty("param").GetString(), Is.EqualTo(parameter), body.GetRawText());
        Assert.That(error.GetProperty("type").GetString(), Is.EqualTo("invalid_request_error"));
        Assert.That(error.GetProperty("message").GetString(), Is.Not.Empty);
    }

    [Test]
    public async Task Stored_responses_are_not_there()
    {
        using HttpResponseMessage response = await _server.Http.GetAsync($"{Responses}/resp_1");
        Assert.That((int)response.StatusCode, Is.EqualTo(404));
        Assert.That(await response.Content.ReadAsStringAsync(), Does.Contain("response_not_found"));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Streams_end_as_failed_when_the_server_stops(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(o => o.ShutdownGrace = TimeSpan.FromMilliseconds(50), model: o => o.ContextLength = 8192);
        using HttpResponseMessage response = await server.Http.SendAsync(
            new HttpRequestMessage(HttpMethod.Post, Responses) { Content = Json("""{"input":"Tell me a story.","ignore_eos":true,"max_output_tokens":8000,"stream":true}""") }, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        var body = new StringBuilder();
        string line = "";

        // Before the first piece there is no item that could be incomplete.
        while (!line.Contains(".delta\"", StringComparison.Ordinal))
        {
            line = await reader.ReadLineAsync(cancellationToken) ?? throw new AssertionException("The stream ended before its first piece.");
            body.Append(line).Append('\n');
        }

        Task stopping = server.StopAsync();
        List<JsonElement> events = Events(body + await reader.ReadToEndAsync(cancellationToken));
        await stopping;
        JsonElement failed = ExpectFailure(events, "shutting_down");
        Assert.That(failed.GetProperty("output").EnumerateArray().Last().GetProperty("status").GetString(), Is.EqualTo("incomplete"), "what was streamed so far");
    }

    /// <summary>Codex shortens a conversation only where it is told within the stream, as OpenAI does; whoever does not stream looks at the status.</summary>
    [TestCase("\"input\":\"LONG\"", "and an answer needs one at least")]
    [TestCase("\"input\":\"Hi\",\"max_output_tokens\":100000", "together with max_output_tokens")]
    public async Task A_stream_says_itself_that_its_prompt_and_answer_do_not_fit_the_context(string fields, string words)
    {
        string request = $"{{{fields.Replace("LONG", string.Concat(Enumerable.Repeat("one two three ", 2000)), StringComparison.Ordinal)}";
        List<JsonElement> events = await StreamAsync(request + ",\"stream\":true}");
        Assert.That(events.Select(TypeOf), Is.EqualTo((string[])["response.created", "response.in_progress", "error", "response.failed"]));
        JsonElement failed = ExpectFailure(events, "context_length_exceeded");
        string message = failed.GetProperty("error").GetProperty("message").GetString()!;
        Assert.That(message, Does.StartWith("Your input exceeds the context window").And.Contain(words));
        Assert.That((events[^2].GetProperty("param").GetString(), failed.GetProperty("output").GetArrayLength()), Is.EqualTo(("input", 0)));
        (int status, JsonElement body, _) = await _server.PostAsync(Responses, request + "}");
        Assert.That((status, body.GetProperty("error").GetProperty("message").GetString()), Is.EqualTo((400, message)));
    }

    /// <summary>The last two events tell of a failure, since some clients look at the first of them alone and others at the second; gives the response.</summary>
    private static JsonElement ExpectFailure(List<JsonElement> events, string code)
    {
        (JsonElement error, JsonElement failed) = (events[^2], events[^1].GetProperty("response"));
        Assert.That((TypeOf(error), TypeOf(events[^1]), failed.GetProperty("status").GetString()), Is.EqualTo(("error", "response.failed", "failed")));
        JsonElement[] told = [error, error.GetProperty("error"), failed.GetProperty("error")];
        Assert.That(told.Select(t => t.GetProperty("code").GetString()), Is.All.EqualTo(code));
        Assert.That(told.Select(t => t.GetProperty("message").GetString()), Is.All.EqualTo(told[0].GetProperty("message").GetString()).And.All.Not.Empty);
        Assert.That(told[1].GetProperty("type").GetString(), Does.EndWith("_error"));
        Assert.That(told[1].GetProperty("param").GetRawText(), Is.EqualTo(error.GetProperty("param").GetRawText()));
        return failed;
    }

    /// <summary>The last event holds what the items' own events said, and the same as an answer that is not streamed.</summary>
    private static void ExpectWhatWasStreamed(List<JsonElement> events, JsonElement whole)
    {
        JsonElement[] output = [.. events[^1].GetProperty("response").GetProperty("output").EnumerateArray()];
        Assert.That(events.Where(e => TypeOf(e) == "response.output_item.done").Select(e => e.GetProperty("item").GetRawText()), Is.EqualTo(output.Select(i => i.GetRawText())));
        Assert.That(output.Select(WithoutId), Is.EqualTo(whole.GetProperty("output").EnumerateArray().Select(WithoutId)));
        for (int i = 0; i < output.Length; i++)
        {
            JsonElement[] own = [.. events.Where(e => e.TryGetProperty("item_id", out JsonElement id) && id.GetString() == output[i].GetProperty("id").GetString())];
            string said = TypeOf(output[i]) == "function_call" ? output[i].GetProperty("arguments").GetString()! : output[i].GetProperty("content")[0].GetProperty("text").GetString()!;
            Assert.That(own.Select(e => e.GetProperty("output_index").GetInt32()), Is.All.EqualTo(i));
            Assert.That(string.Concat(own.Where(e => TypeOf(e).EndsWith(".delta", StringComparison.Ordinal)).Select(e => e.GetProperty("delta").GetString())), Is.EqualTo(said));
        }
    }

    private static string WithoutId(JsonElement item)
    {
        JsonObject copy = JsonNode.Parse(item.GetRawText())!.AsObject();
        copy.Remove("id");
        return copy.ToJsonString();
    }

    private static string TypeOf(JsonElement typed) => typed.GetProperty("type").GetString()!;

    /// <summary>The types of events in order, deltas that follow one another once.</summary>
    private static IEnumerable<string> Kinds(List<JsonElement> events) =>
        events.Select(TypeOf).Where((type, i) => !type.EndsWith(".delta", StringComparison.Ordinal) || TypeOf(events[i - 1]) != type);

    private static List<JsonElement> Events(string body)
    {
        List<JsonElement> events = [];
        foreach (string[] lines in body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Select(e => e.Split('\n')))
        {
            JsonElement data = JsonDocument.Parse(lines[1]["data: ".Length..]).RootElement;
            Assert.That(lines[0], Is.EqualTo($"event: {TypeOf(data)}"));
            Assert.That(data.GetProperty("sequence_number").GetInt32(), Is.EqualTo(events.Count));
            events.Add(data);
        }

        return events;
    }

    private static StringContent Json(string text) => new(text, Encoding.UTF8, "application/json");

    private async Task<JsonElement> AnswerAsync(string request)
    {
        (int status, JsonElement body, _) = await _server.PostAsync(Responses, request);
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        return body;
    }

    private async Task<List<JsonElement>> StreamAsync(string request)
    {
        using HttpResponseMessage response = await _server.Http.PostAsync(Responses, Json(request));
        Assert.That(response.Content.Headers.ContentType!.MediaType, Is.EqualTo("text/event-stream"), await response.Content.ReadAsStringAsync());
        return Events(await response.Content.ReadAsStringAsync());
    }
}
