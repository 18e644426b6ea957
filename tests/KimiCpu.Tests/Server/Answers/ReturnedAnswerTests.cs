// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>An answer that comes back in the next request is read as the model wrote it, though its tokens are others than those of its text, and its arguments are spaced and escaped in a way of their own.</summary>
[TestFixture]
internal sealed class ReturnedAnswerTests
{
    private const string Question = "What is the weather in Oslo?";
    private const string Said = "Let me see.";
    private const string Thought = "It is about Oslo.";
    private const string Arguments = """{"city":"Osl\u006f","days":[1,2.50]}""";
    private const string Schema = """{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"array"}}}""";

    private static readonly string s_function = $$$"""{"type":"function","function":{"name":"get_weather","parameters":{{{Schema}}}}}""";

    private KimiModel _model = null!;
    private RunningServer _server = null!;
    private int[] _tokens = [];
    private readonly List<(KimiMessage[] Messages, GenerationOptions Options)> _asked = [];

    [OneTimeSetUp]
    public async Task Start()
    {
        _model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 2048 });
        _tokens = [.. Bytes(Thought), Special("</think>"), .. Bytes(Said), Special("<|tool_calls_section_begin|>"), Special("<|tool_call_begin|>"), .. Bytes("functions.get_weather:0"),
            Special("<|tool_call_argument_begin|>"), .. Bytes(Arguments), Special("<|tool_call_end|>"), Special("<|tool_calls_section_end|>"), Special("<|im_end|>")];
        _server = await RunningServer.StartWithAsync(StandInModel.Of(_model, (member, given) => member.Name == nameof(IKimiModel.GenerateAsync) ? Answer(given) : null));
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        _model.Dispose();
    }

    [SetUp]
    public void Forget() => _asked.Clear();

    [Test]
    public async Task Chats_of_OpenAI()
    {
        JsonObject request = Request($$"""{"messages":[{"role":"user","content":"{{Question}}"}],"tools":[{{s_function}}]}""");
        JsonNode message = (await AskAsync("/v1/chat/completions", request))["choices"]![0]!["message"]!;
        Add(request, "messages", message, $$"""{"role":"tool","tool_call_id":"{{message["tool_calls"]![0]!["id"]}}","content":"12"}""");
        await AskAsync("/v1/chat/completions", request);
        ExpectOwnTokens();
    }

    [Test]
    public async Task Responses_of_OpenAI()
    {
        JsonObject request = Request($$"""{"input":[{"role":"user","content":"{{Question}}"}],"tools":[{"type":"function","name":"get_weather","parameters":{{Schema}}}]}""");
        JsonArray output = (await AskAsync("/v1/responses", request))["output"]!.AsArray();
        Assert.That(output.Select(i => (string)i!["type"]!), Is.EqualTo(new[] { "reasoning", "message", "function_call" }));
        foreach (JsonNode? item in output)
        {
            request["input"]!.AsArray().Add(item!.DeepClone());
        }

        Add(request, "input", JsonNode.Parse($$"""{"type":"function_call_output","call_id":"{{output[2]!["call_id"]}}","output":"12"}""")!);
        await AskAsync("/v1/responses", request);
        ExpectOwnTokens();
    }

    [Test]
    public async Task Messages_of_Anthropic()
    {
        JsonObject request = Request($$"""
            {"model":"kimi-nano","max_tokens":99,"thinking":{"type":"adaptive"},"messages":[{"role":"user","content":"{{Question}}"}],"tools":[{"name":"get_weather","input_schema":{{Schema}}}]}
            """);
        JsonNode content = AsJavaScript((await AskAsync("/v1/messages", request))["content"]!);
        Add(request, "messages", new JsonObject { ["role"] = "assistant", ["content"] = content }, $$"""{"role":"user","content":[{"type":"tool_result","tool_use_id":"{{content[2]!["id"]}}","content":"12"}]}""");
        JsonNode counted = await AskAsync("/v1/messages/count_tokens", request);
        await AskAsync("/v1/messages", request);
        ExpectOwnTokens();
        Assert.That((int)counted["input_tokens"]!, Is.EqualTo(_model.EncodePrompt(_asked[1].Messages, _asked[1].Options).Length), "what is counted is what is asked");
    }

    [Test]
    public async Task Chats_of_Ollama()
    {
        JsonObject request = Request($$"""{"model":"kimi-nano","stream":false,"messages":[{"role":"user","content":"{{Question}}"}],"tools":[{{s_function}}]}""");
        JsonNode message = AsJavaScript((await AskAsync("/api/chat", request))["message"]!);
        Add(request, "messages", message, """{"role":"tool","tool_name":"get_weather","content":"12"}""");
        await AskAsync("/api/chat", request);
        ExpectOwnTokens();
    }

    /// <summary>Who does not know the conversation could else find out what somebody else was answered: the prompt has other tokens where the answer is known.</summary>
    [Test]
    public async Task The_same_answer_in_another_conversation_is_read_as_any_text()
    {
        JsonObject request = Request($$"""{"messages":[{"role":"user","content":"{{Question}}"}],"tools":[{{s_function}}]}""");
        JsonNode message = (await AskAsync("/v1/chat/completions", request))["choices"]![0]!["message"]!;
        Add(request, "messages", message, $$"""{"role":"tool","tool_call_id":"{{message["tool_calls"]![0]!["id"]}}","content":"12"}""");
        foreach (string change in new[] { "of the question", "of a tool", "of the answer", "of the arguments" })
        {
            JsonObject other = Request(request.ToJsonString());
            JsonNode answer = other["messages"]![1]!;
            switch (change)
            {
                case "of the question":
                    other["messages"]![0]!["content"] = Question + " ";
                    break;
                case "of a tool":
                    other["tools"]![0]!["function"]!["description"] = "Weather";
                    break;
                case "of the answer":
                    answer["content"] = Said + " ";
                    break;
                default:
                    answer["tool_calls"]![0]!["function"]!["arguments"] = Arguments.Replace("2.50", "2.51", StringComparison.Ordinal);
                    break;
            }

            await AskAsync("/v1/chat/completions", other);
            Assert.That(_asked[^1].Messages[1].GeneratedTokens, Is.Null, change);
        }

        await AskAsync("/v1/chat/completions", request);
        Assert.That(_asked[^1].Messages[1].GeneratedTokens, Is.EqualTo(_tokens), "nothing but the changes kept it from being known");
    }

    /// <summary>Who switches sharing off wants nobody to learn what others have asked, and there is nothing in the cache to go on from.</summary>
    [Test]
    public async Task Where_calls_share_nothing_nothing_is_remembered()
    {
        await using RunningServer server = await RunningServer.StartAsync(model: o => o.PrefixCaching = false);
        await AskAsync("/v1/chat/completions", Request("""{"messages":[{"role":"user","content":"Hi"}],"max_tokens":3}"""), server);
        await AskAsync("/v1/chat/completions", Request("""{"messages":[{"role":"user","content":"Hi"}],"max_tokens":3}"""));
        Assert.That((server.Memory.Count, _server.Memory.Count > 0), Is.EqualTo((0, true)));
    }

    private static JsonObject Request(string json) => JsonNode.Parse(json)!.AsObject();

    /// <summary>Numbers and texts as a client writes them that has read them.</summary>
    private static JsonNode AsJavaScript(JsonNode answer) => JsonNode.Parse(answer.ToJsonString().Replace("2.50", "2.5", StringComparison.Ordinal).Replace(@"\u006f", "o", StringComparison.OrdinalIgnoreCase))!;

    private static void Add(JsonObject request, string list, JsonNode answer, string? result = null)
    {
        request[list]!.AsArray().Add(answer.DeepClone());
        if (result is not null)
        {
            request[list]!.AsArray().Add(JsonNode.Parse(result));
        }
    }

    private async Task<JsonNode> AskAsync(string path, JsonObject request, RunningServer? server = null)
    {
        (int status, System.Text.Json.JsonElement body, HttpResponseMessage response) = await (server ?? _server).PostAsync(path, request.ToJsonString());
        response.Dispose();
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        return JsonNode.Parse(body.GetRawText())!;
    }

    /// <summary>The second prompt goes on where the first one and its answer ended, so that all of it is found in the cache.</summary>
    private void ExpectOwnTokens()
    {
        KimiMessage answer = _asked[1].Messages[1];
        Assert.That((answer.Reasoning, answer.Content, answer.ToolCalls.Single().Arguments), Is.EqualTo((Thought, Said, Arguments)));
        int[] known = [.. _model.EncodePrompt(_asked[0].Messages, _asked[0].Options), .. _tokens];
        Assert.That(_model.EncodePrompt(_asked[1].Messages, _asked[1].Options)[..known.Length], Is.EqualTo(known));
    }

    private async IAsyncEnumerable<GenerationUpdate> Answer(object?[] given)
    {
        _asked.Add(([.. (IEnumerable<KimiMessage>)given[0]!], (GenerationOptions)given[1]!));
        await Task.Yield();
        yield return new GenerationUpdate
        {
            Result = new GenerationResult
            {
                Text = Said,
                Reasoning = Thought,
                ToolCalls = [new KimiToolCall("functions.get_weather:0", "get_weather", Arguments)],
                Tokens = _tokens,
                LogProbabilities = [],
                FinishReason = FinishReason.ToolCalls,
                Usage = new GenerationUsage(10, _tokens.Length, 1),
                Timings = new GenerationTimings(TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero),
            },
        };
    }

    /// <summary>A token for each byte, as no text is encoded.</summary>
    private IEnumerable<int> Bytes(string text) =>
        Encoding.UTF8.GetBytes(text).Select(b => Enumerable.Range(0, _model.Tokenizer.VocabularySize).First(t => !_model.Tokenizer.IsSpecial(t) && _model.Tokenizer.GetBytes(t) is [var one] && one == b));

    private int Special(string name) => _model.Tokenizer.TryGetSpecialToken(name, out int id) ? id : throw new ArgumentException(name);
}
