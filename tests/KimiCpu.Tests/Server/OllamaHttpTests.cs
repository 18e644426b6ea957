// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Server.Ollama;

namespace KimiCpu.Tests.Server;

/// <summary>Ollama's interface as it is documented.</summary>
[TestFixture]
internal sealed class OllamaHttpTests
{
    private const string France = "What is the capital of France?";
    private const string Weather = """{"type":"function","function":{"name":"get_weather","description":"Get the current weather for a city.","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}""";

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await SharedServers.Plain;

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Chats_in_lines_that_add_up_to_the_whole()
    {
        string request = $$"""{"model":"kimi-nano:latest","messages":[{"role":"user","content":"{{France}}"}],"options":{"temperature":0}""";
        (int status, JsonElement whole, _) = await _server.PostAsync("/api/chat", request + ""","stream":false}""");
        Assert.That(status, Is.EqualTo(200), whole.GetRawText());
        Assert.That(whole.GetProperty("message").GetProperty("content").GetString(), Does.Contain("Paris"));
        Assert.That(whole.GetProperty("done_reason").GetString(), Is.EqualTo("stop"));
        List<JsonElement> lines = await LinesAsync("/api/chat", request + "}");
        Assert.That(string.Concat(lines.Select(l => l.GetProperty("message").GetProperty("content").GetString())), Is.EqualTo(whole.GetProperty("message").GetProperty("content").GetString()));
        Assert.That(lines.Select(l => l.GetProperty("done").GetBoolean()), Is.EqualTo(lines.SkipLast(1).Select(_ => false).Append(true)));
        Assert.That(lines[^1].GetProperty("eval_count").GetInt32(), Is.EqualTo(whole.GetProperty("eval_count").GetInt32()).And.Positive);
        Assert.That(lines[^1].GetProperty("eval_duration").GetInt64(), Is.Positive);
    }

    [Test]
    public async Task Calls_tools()
    {
        (int status, JsonElement body, _) = await _server.PostAsync("/api/chat", $$"""{"model":"kimi-nano","stream":false,"options":{"temperature":0},"tools":[{{Weather}}],"messages":[{"role":"user","content":"What is the weather in Oslo?"}]}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        JsonElement function = body.GetProperty("message").GetProperty("tool_calls").EnumerateArray().Single().GetProperty("function");
        Assert.That((function.GetProperty("name").GetString(), function.GetProperty("arguments").GetProperty("city").GetString()), Is.EqualTo(("get_weather", "Oslo")));
    }

    /// <summary>Results say which tool they are of, and some not even that.</summary>
    [Test]
    public void Results_without_ids_answer_the_calls_of_their_tools()
    {
        IReadOnlyList<KimiMessage> read = new OllamaRequestReader(new RequestParts(new KimiServerOptions(), new FormatReader(), CancellationToken.None)).ReadChat(new JsonFields(JsonElement.Parse("""
            {"messages":[{"role":"user","content":"How is Oslo?"},
             {"role":"assistant","content":"","tool_calls":[{"function":{"name":"get_weather","arguments":{"city":"Oslo"}}},{"function":{"name":"get_time","arguments":{"city":"Oslo"}}},{"function":{"name":"get_news","arguments":{}}}]},
             {"role":"tool","tool_name":"get_time","content":"noon"},{"role":"tool","tool_name":"get_weather","content":"12 degrees"},{"role":"tool","content":"none"}]}
            """)))!.Messages!;
        string shown = _server.Model.Tokenizer.Decode(_server.Model.EncodePrompt(read));
        Assert.That(shown, Does.Contain("<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{\"city\": \"Oslo\"}<|tool_call_end|>"));
        string[] results = ["## Return of functions.get_time:1\nnoon", "## Return of functions.get_weather:0\n12 degrees", "## Return of functions.get_news:2\nnone"];
        Assert.That(results.Select(r => shown.IndexOf(r + "<|im_end|>", StringComparison.Ordinal)), Is.Ordered.And.All.Positive, shown);
    }

    [Test]
    public async Task Generates_with_a_format_and_without_reasoning()
    {
        (int status, JsonElement body, _) = await _server.PostAsync("/api/generate", """{"model":"kimi-nano","prompt":"Which colour is grass?","stream":false,"think":false,"options":{"temperature":0},"format":{"type":"object","properties":{"colour":{"enum":["red","green"]}},"required":["colour"]}}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(JsonDocument.Parse(body.GetProperty("response").GetString()!).RootElement.GetProperty("colour").GetString(), Is.AnyOf("red", "green"));
        Assert.That(body.TryGetProperty("thinking", out _), Is.False);
        List<JsonElement> raw = await LinesAsync("/api/generate", """{"model":"kimi-nano","prompt":"ROMEO:\n","raw":true,"options":{"temperature":0,"num_predict":8}}""");
        Assert.That(raw[^1].GetProperty("done_reason").GetString(), Is.EqualTo("length"));
        Assert.That(raw[^1].GetProperty("eval_count").GetInt32(), Is.EqualTo(8));
    }

    [Test]
    public async Task Describes_its_model_and_loads_it()
    {
        (_, JsonElement show, _) = await _server.PostAsync("/api/show", """{"model":"kimi-nano"}""");
        JsonElement info = show.GetProperty("model_info");
        Assert.That(info.GetProperty("general.basename").GetString(), Is.EqualTo("kimi-nano"), "what Copilot Chat shows in its list of models");
        Assert.That(info.GetProperty($"{info.GetProperty("general.architecture").GetString()}.context_length").GetInt32(), Is.EqualTo(2048));
        Assert.That(show.GetProperty("template").GetString(), Does.Contain("tools").IgnoreCase.And.Not.Contain(".Suffix"), "where LiteLLM looks for tools, and Continue for what this model does not do");
        JsonElement version = JsonDocument.Parse(await _server.Http.GetStringAsync("/api/version")).RootElement;
        Assert.That(Version.Parse(version.GetProperty("version").GetString()!), Is.GreaterThanOrEqualTo(new Version(0, 9)), "clients ask for the one that brought tools in streams and thinking");
        Assert.That(version.GetProperty("kimicpu").GetString(), Is.EqualTo(typeof(KimiServerOptions).Assembly.GetName().Version!.ToString(3)));
        (_, JsonElement loaded, _) = await _server.PostAsync("/api/chat", """{"model":"kimi-nano","messages":[]}""");
        Assert.That(loaded.GetProperty("done_reason").GetString(), Is.EqualTo("load"));
        (int status, JsonElement missing, _) = await _server.PostAsync("/api/chat", """{"model":"llama3","messages":[{"role":"user","content":"x"}]}""");
        Assert.That(status, Is.EqualTo(404));
        Assert.That(missing.GetProperty("error").GetString(), Does.Contain("'llama3'"));
    }

    [TestCase("/api/chat", "\"messages\":[],\"keep_alive\":0", "unload")]
    [TestCase("/api/chat", "\"keep_alive\":\"0s\"", "unload")]
    [TestCase("/api/generate", "\"keep_alive\":0", "unload")]
    [TestCase("/api/generate", "\"prompt\":\"\",\"keep_alive\":\"0h0m\"", "unload")]
    [TestCase("/api/generate", "\"keep_alive\":-1", "load")]
    [TestCase("/api/generate", "\"keep_alive\":\"10m\"", "load")]
    [TestCase("/api/chat", "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"keep_alive\":0,\"stream\":false,\"options\":{\"num_predict\":1}", "length")]
    public async Task A_model_that_is_let_go_is_told_to_be_gone(string path, string fields, string reason)
    {
        (int status, JsonElement body, _) = await _server.PostAsync(path, $$"""{"model":"kimi-nano",{{fields}}}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That((body.GetProperty("done").GetBoolean(), body.GetProperty("done_reason").GetString()), Is.EqualTo((true, reason)));
    }

    /// <summary>Python's json writes 40.0 where a program counts in floating point.</summary>
    [Test]
    public async Task Whole_numbers_may_be_written_with_a_fraction_of_zero()
    {
        const string Begin = """{"model":"kimi-nano","prompt":"ROMEO:\n","raw":true,"stream":false,"options":{"temperature":1,""";
        (int status, JsonElement floats, _) = await _server.PostAsync("/api/generate", Begin + "\"top_k\":40.0,\"seed\":7.0,\"num_predict\":8e0}}");
        (_, JsonElement whole, _) = await _server.PostAsync("/api/generate", Begin + "\"top_k\":40,\"seed\":7,\"num_predict\":8}}");
        Assert.That(status, Is.EqualTo(200), floats.GetRawText());
        Assert.That((floats.GetProperty("response").GetString(), floats.GetProperty("eval_count").GetInt32()), Is.EqualTo((whole.GetProperty("response").GetString(), 8)));
        (status, JsonElement half, _) = await _server.PostAsync("/api/generate", Begin + "\"top_k\":40.5}}");
        Assert.That((status, half.GetProperty("error").GetString()), Is.EqualTo((400, "options.top_k takes a whole number, -1 or more; found 40.5.")));
    }

    private async Task<List<JsonElement>> LinesAsync(string path, string json)
    {
        using HttpResponseMessage response = await _server.Http.PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"));
        Assert.That(response.Content.Headers.ContentType!.MediaType, Is.EqualTo("application/x-ndjson"));
        Assert.That((response.Headers.GetValues("X-Accel-Buffering").Single(), response.Headers.CacheControl!.NoStore), Is.EqualTo(("no", true)), "a proxy would collect the lines");
        return [.. (await response.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];
    }
}
