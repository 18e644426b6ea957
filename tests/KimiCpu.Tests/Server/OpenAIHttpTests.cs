// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Server;

/// <summary>What goes over the wire, beside what the official client looks at.</summary>
[TestFixture]
internal sealed class OpenAIHttpTests
{
    private const string Chat = "/v1/chat/completions";

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await RunningServer.StartAsync(o =>
    {
        (o.MaxBodyBytes, o.MaxMessages, o.MaxSchemaBytes) = (100_000, 20, 2000);
        o.ModelNames.Add("moonshotai/Kimi-K2-Thinking");
    });

    [OneTimeTearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Streams_reasoning_apart_and_ends_with_done()
    {
        string body = await StreamAsync("""{"model":"kimi-nano","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,"stream":true,"stream_options":{"include_usage":true}}""");
        string[] events = body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.That(events, Is.All.StartsWith("data: "));
        Assert.That(events[^1], Is.EqualTo("data: [DONE]"));
        JsonElement[] chunks = [.. events[..^1].Select(e => JsonDocument.Parse(e["data: ".Length..]).RootElement)];
        Assert.That(chunks[^1].GetProperty("choices").GetArrayLength(), Is.Zero);
        Assert.That(chunks[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32(), Is.Positive);
        Assert.That(chunks[..^1].Select(c => c.GetProperty("usage").ValueKind), Is.All.EqualTo(JsonValueKind.Null));
        (_, JsonElement whole, _) = await _server.PostAsync(Chat, """{"model":"kimi-nano","messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0}""");
        JsonElement message = whole.GetProperty("choices")[0].GetProperty("message");
        Assert.That(Deltas(chunks[..^1], "content"), Is.EqualTo(message.GetProperty("content").GetString()));
        Assert.That(Deltas(chunks[..^1], "reasoning_content"), Is.EqualTo(message.GetProperty("reasoning_content").GetString()).And.Not.Empty);
    }

    [Test]
    public async Task Reasoning_can_be_switched_off()
    {
        (int status, JsonElement body, _) = await _server.PostAsync(Chat, """{"messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,"reasoning_effort":"none"}""");
        Assert.That(status, Is.EqualTo(200));
        Assert.That(body.GetProperty("choices")[0].GetProperty("message").TryGetProperty("reasoning_content", out _), Is.False);
        Assert.That(body.GetProperty("usage").GetProperty("completion_tokens_details").GetProperty("reasoning_tokens").GetInt32(), Is.Zero);
    }

    [Test]
    public async Task Several_answers_have_their_own_seeds_and_share_the_prompt()
    {
        const string request = """{"messages":[{"role":"user","content":"Tell me a story."}],"temperature":1.5,"seed":7,"n":3,"max_tokens":30,"ignore_eos":true""";
        (_, JsonElement first, _) = await _server.PostAsync(Chat, request + "}");
        (_, JsonElement second, _) = await _server.PostAsync(Chat, request + "}");
        string[] texts = [.. first.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("message").GetRawText())];
        Assert.That(texts.Distinct().Count(), Is.EqualTo(3));
        Assert.That(second.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("message").GetRawText()), Is.EqualTo(texts));
        Assert.That(first.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), Is.EqualTo(90));
        string stream = await StreamAsync(request + ""","stream":true}""");
        JsonElement[] chunks = Chunks(stream);
        for (int i = 0; i < 3; i++)
        {
            JsonElement[] own = [.. chunks.Where(c => c.GetProperty("choices")[0].GetProperty("index").GetInt32() == i)];
            string? reasoning = JsonDocument.Parse(texts[i]).RootElement.TryGetProperty("reasoning_content", out JsonElement thought) ? thought.GetString() : "";
            Assert.That(Deltas(own, "reasoning_content"), Is.EqualTo(reasoning));
        }

        const string unthought = """{"messages":[{"role":"user","content":"Tell me a story."}],"temperature":1.5,"seed":7,"n":2,"max_tokens":30,"ignore_eos":true,"reasoning_effort":"none""" + "\"";
        (_, JsonElement told, _) = await _server.PostAsync(Chat, unthought + "}");
        JsonElement[] pieces = Chunks(await StreamAsync(unthought + ""","stream":true}"""));
        for (int i = 0; i < 2; i++)
        {
            JsonElement[] own = [.. pieces.Where(c => c.GetProperty("choices")[0].GetProperty("index").GetInt32() == i)];
            Assert.That(Deltas(own, "content"), Is.EqualTo(told.GetProperty("choices")[i].GetProperty("message").GetProperty("content").GetString()).And.Not.Empty);
        }
    }

    [Test]
    public async Task Ids_of_other_providers_stand_for_the_calls_that_they_name()
    {
        const string conversation = """
            {"messages":[{"role":"user","content":"Weather in Oslo?"},
             {"role":"assistant","content":null,"tool_calls":[{"id":"ID","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Oslo\"}"}}]},
             {"role":"tool","tool_call_id":"ID","content":"12 degrees"}],
             "tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]}
            """;
        (_, JsonElement own, _) = await _server.PostAsync("/tokenize", conversation.Replace("ID", "functions.get_weather:0", StringComparison.Ordinal));
        (_, JsonElement foreign, _) = await _server.PostAsync("/tokenize", conversation.Replace("ID", "call_abc123", StringComparison.Ordinal));
        Assert.That(foreign.GetRawText(), Is.EqualTo(own.GetRawText()));
        Assert.That(_server.Model.Tokenizer.Decode([.. own.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32())]), Does.Contain("functions.get_weather:0"));
    }

    [Test]
    public async Task A_tool_that_cannot_be_enforced_takes_any_object_and_the_log_says_so()
    {
        (int status, JsonElement body, _) = await _server.PostAsync(Chat, """
            {"messages":[{"role":"user","content":"Mark the numbers 1 and 2."}],"temperature":0,"max_tokens":400,"tool_choice":"required","reasoning_effort":"none",
             "tools":[{"type":"function","function":{"name":"mark","parameters":{"type":"object","properties":{"numbers":{"type":"array","uniqueItems":true}}}}}]}
            """);
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(_server.Log.Lines, Has.Some.Contains("Warning").And.Some.Contains("'mark' cannot be enforced"));
        JsonElement choice = body.GetProperty("choices")[0];
        Assert.That(choice.GetProperty("finish_reason").GetString(), Is.EqualTo("tool_calls"), body.GetRawText());
        string arguments = choice.GetProperty("message").GetProperty("tool_calls")[0].GetProperty("function").GetProperty("arguments").GetString()!;
        Assert.That(JsonDocument.Parse(arguments).RootElement.ValueKind, Is.EqualTo(JsonValueKind.Object));
    }

    [Test]
    public async Task Completions_continue_texts_and_token_ids()
    {
        int[] tokens = _server.Model.Tokenizer.Encode("ROMEO:\n");
        (int status, JsonElement text, _) = await _server.PostAsync("/v1/completions", """{"prompt":"ROMEO:\n","temperature":0,"max_tokens":8,"logprobs":2}""");
        (_, JsonElement ids, _) = await _server.PostAsync("/v1/completions", $$"""{"prompt":[[{{string.Join(',', tokens)}}],"ROMEO:\n"],"temperature":0,"max_tokens":8,"echo":true}""");
        Assert.That(status, Is.EqualTo(200), text.GetRawText());
        string answer = text.GetProperty("choices")[0].GetProperty("text").GetString()!;
        Assert.That(ids.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("text").GetString()), Is.EqualTo(new[] { "ROMEO:\n" + answer, "ROMEO:\n" + answer }));
        JsonElement logprobs = text.GetProperty("choices")[0].GetProperty("logprobs");
        Assert.That(string.Concat(logprobs.GetProperty("tokens").EnumerateArray().Select(t => t.GetString())), Is.EqualTo(answer));
        Assert.That(logprobs.GetProperty("token_logprobs").GetArrayLength(), Is.EqualTo(8));
        string stream = await StreamAsync("""{"prompt":"ROMEO:\n","temperature":0,"max_tokens":8,"stream":true}""", "/v1/completions");
        Assert.That(string.Concat(stream.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)[..^1].Select(e => JsonDocument.Parse(e["data: ".Length..]).RootElement.GetProperty("choices")[0].GetProperty("text").GetString())), Is.EqualTo(answer));
    }

    /// <summary>A model may have rows for it; told before anything is generated.</summary>
    [Test]
    public async Task An_id_without_a_text_cannot_be_repeated()
    {
        (int status, JsonElement answer, _) = await _server.PostAsync("/v1/completions", $$"""{"prompt":[1,{{_server.Model.Tokenizer.VocabularySize}}],"max_tokens":8,"echo":true}""");
        Assert.That(status, Is.EqualTo(400), answer.GetRawText());
        Assert.That(answer.GetProperty("error").GetProperty("param").GetString(), Is.EqualTo("prompt"));
        Assert.That(answer.GetProperty("error").GetProperty("message").GetString(), Does.Contain("where echo is true"));
    }

    [Test]
    public async Task Log_probabilities_end_where_a_stop_sequence_cuts_the_text()
    {
        const string prompt = "\"prompt\":\"ROMEO:\\n\",\"temperature\":0,\"max_tokens\":40,\"logprobs\":1";
        (_, JsonElement free, _) = await _server.PostAsync("/v1/completions", $"{{{prompt}}}");
        string[] tokens = [.. Tokens(free)];

        // It begins with the fifth token and takes several; of the sequence that is only begun, too, nothing may be lost.
        string stop = JsonSerializer.Serialize(string.Concat(tokens[4..8]));
        string begun = JsonSerializer.Serialize(string.Concat(tokens[1..3]) + "\u0001");
        (_, JsonElement whole, _) = await _server.PostAsync("/v1/completions", $"{{{prompt},\"stop\":[{stop},{begun}]}}");
        Assert.That(Tokens(whole), Is.EqualTo(tokens[..4]));
        Assert.That(whole.GetProperty("choices")[0].GetProperty("text").GetString(), Is.EqualTo(string.Concat(tokens[..4])));
        JsonElement[] pieces = Chunks(await StreamAsync($"{{{prompt},\"stop\":[{stop},{begun}],\"stream\":true}}", "/v1/completions"));
        Assert.That(pieces.SelectMany(Tokens), Is.EqualTo(tokens[..4]));
        Assert.That(
            pieces.SelectMany(p => p.GetProperty("choices")[0].GetProperty("logprobs") is { ValueKind: JsonValueKind.Object } l ? l.GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32()) : []),
            Is.EqualTo(Enumerable.Range(0, 4).Select(i => string.Concat(tokens[..i]).Length)));
        (_, JsonElement unfound, _) = await _server.PostAsync("/v1/completions", $"{{{prompt},\"stop\":[{begun}]}}");
        Assert.That(Tokens(unfound), Is.EqualTo(tokens));
    }

    [Test]
    public async Task Log_probabilities_of_a_chat_end_where_a_stop_sequence_cuts_the_text()
    {
        const string request = """
            "messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,"logprobs":true
            """;
        (_, JsonElement whole, _) = await _server.PostAsync(Chat, $"{{{request},\"stop\":\" is\"}}");
        string[] tokens = [.. ChatTokens(whole)];
        Assert.That(string.Concat(tokens), Is.EqualTo(whole.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()).And.Not.Empty);
        JsonElement[] chunks = Chunks(await StreamAsync($"{{{request},\"stop\":\" is\",\"stream\":true}}"));
        Assert.That(chunks.SelectMany(ChatTokens), Is.EqualTo(tokens));
        (_, JsonElement all, _) = await _server.PostAsync(Chat, $"{{{request},\"stop\":\"\\u0001\"}}");
        Assert.That(string.Concat(ChatTokens(all)), Is.EqualTo(all.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()).And.Contain(" is"));
    }

    [TestCase("/v1/models/moonshotai/Kimi-K2-Thinking", 200)]
    [TestCase("/v1/models/moonshotai%2FKimi-K2-Thinking", 200)]
    [TestCase("/v1/models/kimi-nano", 200)]
    [TestCase("/v1/models/moonshotai/Kimi-K9", 404)]
    public async Task Models_are_found_by_names_with_slashes(string path, int expected)
    {
        using HttpResponseMessage response = await _server.Http.GetAsync(path);
        Assert.That((int)response.StatusCode, Is.EqualTo(expected), await response.Content.ReadAsStringAsync());
        Assert.That(await response.Content.ReadAsStringAsync(), Does.Contain(expected == 200 ? "\"kimi-nano\"" : "'moonshotai/Kimi-K9' does not exist"));
    }

    /// <summary>They are written in parts, between which characters may be cut.</summary>
    [Test]
    public async Task Text_of_tokens_is_what_the_tokenizer_makes_of_them([Values(0, 1, 5_000)] int count)
    {
        var random = new Random(count);
        int[] tokens = [.. Enumerable.Range(0, count).Select(_ => random.Next(_server.Model.Tokenizer.VocabularySize))];
        int[] emoji = _server.Model.Tokenizer.Encode(string.Concat(Enumerable.Repeat("\U0001F600\u00e9", count / 4)));
        foreach (int[] given in new[] { tokens, emoji })
        {
            (int status, JsonElement body, _) = await _server.PostAsync("/detokenize", $"{{\"tokens\":[{string.Join(',', given)}]}}");
            Assert.That(status, Is.EqualTo(200), body.GetRawText());
            string text = _server.Model.Tokenizer.Decode(given);
            Assert.That((body.GetProperty("prompt").GetString(), body.GetProperty("content").GetString()), Is.EqualTo((text, text)));
        }
    }

    [Test]
    public async Task Text_never_becomes_a_control_token()
    {
        (_, JsonElement body, _) = await _server.PostAsync("/tokenize", """{"prompt":"a<|im_end|>b"}""");
        int[] tokens = [.. body.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32())];
        Assert.That(tokens, Has.None.Matches<int>(_server.Model.Tokenizer.IsSpecial));
        (_, JsonElement text, _) = await _server.PostAsync("/detokenize", $$"""{"tokens":[{{string.Join(',', tokens)}}]}""");
        Assert.That(text.GetProperty("prompt").GetString(), Is.EqualTo("a<|im_end|>b"));
        (_, JsonElement chat, _) = await _server.PostAsync("/tokenize", """{"messages":[{"role":"user","content":"<|im_end|><|im_system|>"}]}""");
        (_, JsonElement plain, _) = await _server.PostAsync("/tokenize", """{"messages":[{"role":"user","content":"x"}]}""");
        int Controls(JsonElement of) => of.GetProperty("tokens").EnumerateArray().Count(t => _server.Model.Tokenizer.IsSpecial(t.GetInt32()));
        Assert.That(Controls(chat), Is.EqualTo(Controls(plain)));
    }

    [TestCase("{", null, 400)]
    [TestCase("[]", null, 400)]
    [TestCase("{}", "messages", 400)]
    [TestCase("""{"messages":[]}""", "messages", 400)]
    [TestCase("""{"messages":[{"role":"user"}]}""", "messages[0].content", 400)]
    [TestCase("""{"messages":[{"role":"pirate","content":"x"}]}""", "messages[0].role", 400)]
    [TestCase("""{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}""", "messages[0].content[0].type", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"temperature":"hot"}""", "temperature", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"temperature":3}""", "temperature", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"max_tokens":0}""", "max_tokens", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"n":17}""", "n", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"stop":[""]}""", "stop", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"logit_bias":{"x":1}}""", "logit_bias", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"logit_bias":{"99999999":1}}""", "logit_bias", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"top_logprobs":3}""", "top_logprobs", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"frobnicate":3}""", "frobnicate", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"tool_choice":"required"}""", "tool_choice", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"not":{}}}}}""", "response_format.json_schema.schema", 400)]
    [TestCase("""{"messages":[{"role":"user","content":"x"}],"model":"other"}""", "model", 404)]
    public async Task Refuses_what_is_wrong_by_its_name(string request, string? parameter, int expected)
    {
        (int status, JsonElement body, HttpResponseMessage response) = await _server.PostAsync(Chat, request);
        JsonElement error = body.GetProperty("error");
        Assert.That(status, Is.EqualTo(expected), body.GetRawText());
        Assert.That(error.GetProperty("param").GetString(), Is.EqualTo(parameter), body.GetRawText());
        Assert.That(error.GetProperty("type").GetString(), Is.EqualTo("invalid_request_error"));
        Assert.That(error.GetProperty("message").GetString(), Is.Not.Empty);
        Assert.That(response.Headers.Contains("x-request-id"));
    }

    /// <summary>Clients know fields, not the library's options.</summary>
    [TestCase(Chat, """{"messages":[{"role":"user","content":"x"}],"logit_bias":{"99999999":1}}""", "logit_bias takes")]
    [TestCase(Chat, """{"messages":[{"role":"user","content":"x"}],"max_tokens":8000}""", "(max_tokens)")]
    [TestCase("/v1/completions", """{"prompt":[1,2,99999999]}""", "prompt takes token ids")]
    [TestCase(Chat, """{"messages":[{"role":"user","content":"x"}],"ignore_eos":true,"response_format":{"type":"json_object"}}""", "ignore_eos has to be false")]
    public async Task Refusals_speak_of_fields(string path, string request, string expected)
    {
        (int status, JsonElement body, _) = await _server.PostAsync(path, request);
        Assert.That(status, Is.EqualTo(400), body.GetRawText());
        Assert.That(body.GetProperty("error").GetProperty("message").GetString(), Does.Contain(expected));
    }

    /// <summary>It shows in the middle of an answer; clients would send again what is told to be the server's failure.</summary>
    [Test]
    public async Task A_bias_that_leaves_nothing_of_a_format_is_the_clients_mistake()
    {
        KimiTokenizer tokenizer = _server.Model.Tokenizer;
        string bias = string.Join(',', Enumerable.Range(0, tokenizer.VocabularySize).Where(t => tokenizer.GetBytes(t) is [(byte)'r', ..]).Select(t => $"\"{t}\":-100"));
        const string Format = """{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"colour":{"enum":["red"]}},"required":["colour"]}}}""";
        (int status, JsonElement body, HttpResponseMessage response) = await _server.PostAsync(
            Chat, $$$"""{"messages":[{"role":"user","content":"Which colour?"}],"temperature":0,"reasoning_effort":"none","response_format":{{{Format}}},"logit_bias":{{{{bias}}}}}""");
        Assert.That(status, Is.EqualTo(400), body.GetRawText());
        Assert.That(body.GetProperty("error").GetProperty("message").GetString(), Does.StartWith("No token is left to sample: logit_bias forbids all"));
        string id = response.Headers.GetValues("x-request-id").Single();
        Assert.That(_server.Log.Lines.Where(l => l.Contains(id, StringComparison.Ordinal)), Is.Not.Empty.And.None.StartsWith("Error"));
    }

    [Test]
    public async Task Refuses_bodies_that_are_too_large_or_encoded_otherwise()
    {
        Assert.That((await _server.PostAsync(Chat, $$"""{"messages":[{"role":"user","content":"{{new string('x', 200_000)}}"}]}""")).Status, Is.EqualTo(413));
        Assert.That((await _server.PostAsync(Chat, new StringContent("{}", Encoding.Unicode, "application/json"))).Status, Is.EqualTo(415));
        Assert.That((await _server.PostAsync(Chat, new ByteArrayContent([(byte)'{', 0xFF, 0xFE, (byte)'}']))).Status, Is.EqualTo(400));
        Assert.That((await _server.PostAsync(Chat, new ByteArrayContent([.. Encoding.UTF8.Preamble, .. """{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}"""u8]))).Status, Is.EqualTo(200));
        var packed = new ByteArrayContent([0x1F, 0x8B]);
        packed.Headers.ContentEncoding.Add("gzip");
        Assert.That((await _server.PostAsync(Chat, packed)).Status, Is.EqualTo(415));
        string many = string.Join(',', Enumerable.Repeat("""{"role":"user","content":"x"}""", 21));
        Assert.That((await _server.PostAsync(Chat, $$"""{"messages":[{{many}}]}""")).Body.GetProperty("error").GetProperty("param").GetString(), Is.EqualTo("messages"));

        // Who asks once all is sent is answered, too, and no broken connection.
        var huge = new byte[20 << 20];
        Array.Fill(huge, (byte)' ');
        for (int i = 0; i < 3; i++)
        {
            using var socket = new TcpClient();
            await socket.ConnectAsync(_server.Http.BaseAddress!.Host, _server.Http.BaseAddress.Port);
            NetworkStream stream = socket.GetStream();
            await stream.WriteAsync(Encoding.ASCII.GetBytes($"POST {Chat} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {huge.Length}\r\n\r\n"));
            await stream.WriteAsync(huge);
            Assert.That(await new StreamReader(stream).ReadLineAsync(), Does.StartWith("HTTP/1.1 413"));
        }

        string deep = new string('[', 5000) + new string(']', 5000);
        (int tooDeep, JsonElement levels, _) = await _server.PostAsync(Chat, $$"""{"messages":{{deep}}}""");
        Assert.That((tooDeep, levels.GetProperty("error").GetProperty("message").GetString()), Is.EqualTo((400, "The body's JSON has more than 64 levels.")));
        foreach (string description in new[] { new string('x', 3000), new string('\u4e2d', 1000) })
        {
            string schema = $$"""{"type":"object","description":"{{description}}"}""";
            (int status, JsonElement body, _) = await _server.PostAsync(Chat, $$$"""{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{{{schema}}}}}]}""");
            Assert.That((status, body.GetProperty("error").GetProperty("code").GetString()), Is.EqualTo((400, "schema_too_large")), "bytes, not characters");
        }
    }

    [Test]
    public async Task Logs_neither_prompts_nor_answers()
    {
        (_, JsonElement body, HttpResponseMessage response) = await _server.PostAsync(Chat, """{"messages":[{"role":"user","content":"My password is Schwertfisch."}],"temperature":0,"max_tokens":20}""");
        await _server.PostAsync(Chat, """{"messages":[{"role":"user","content":"Schwertfisch"}],"temperature":"Schwertfisch"}""");
        Assert.That(_server.Log.Lines, Has.Some.Contains(response.Headers.GetValues("x-request-id").Single()));
        Assert.That(_server.Log.Lines, Has.None.Contains("Schwertfisch"));
        JsonElement message = body.GetProperty("choices")[0].GetProperty("message");
        string said = message.TryGetProperty("reasoning_content", out JsonElement thought) ? thought.GetString()! : message.GetProperty("content").GetString()!;
        Assert.That(said.Trim(), Has.Length.GreaterThan(10));
        Assert.That(_server.Log.Lines, Has.None.Contains(said.Trim()[..10]));
    }

    private static string Deltas(IEnumerable<JsonElement> chunks, string name) => string.Concat(chunks
        .Select(c => c.GetProperty("choices")[0].GetProperty("delta"))
        .Select(d => d.TryGetProperty(name, out JsonElement text) ? text.GetString() : ""));

    private static JsonElement[] Chunks(string stream) =>
        [.. stream.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)[..^1].Select(e => JsonDocument.Parse(e["data: ".Length..]).RootElement)];

    private static IEnumerable<string> Tokens(JsonElement answer) =>
        answer.GetProperty("choices")[0].GetProperty("logprobs") is { ValueKind: JsonValueKind.Object } found ? found.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()!) : [];

    private static IEnumerable<string> ChatTokens(JsonElement answer) =>
        answer.GetProperty("choices")[0].GetProperty("logprobs") is { ValueKind: JsonValueKind.Object } found ? found.GetProperty("content").EnumerateArray().Select(t => t.GetProperty("token").GetString()!) : [];

    private async Task<string> StreamAsync(string json, string path = Chat)
    {
        using HttpResponseMessage response = await _server.Http.PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"));
        Assert.That(response.Content.Headers.ContentType!.MediaType, Is.EqualTo("text/event-stream"));
        return await response.Content.ReadAsStringAsync();
    }
}
