// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using Anthropic;
using Anthropic.Exceptions;
using Anthropic.Models.Messages;
using Anthropic.Models.Models;
using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Server.Clients;

/// <summary>What the official Anthropic client gets from the server; it holds all responses to their documented form.</summary>
[TestFixture]
internal sealed class AnthropicClientTests
{
    private const string Capital = "What is the capital of France?";
    private const string Weather = "What is the weather in Oslo?";
    private const string Result = "12 degrees and sunny";
    private const string City = """{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}""";

    private static readonly Tool s_weather = new()
    {
        Name = "get_weather",
        Description = "Get the current weather for a city.",
        InputSchema = JsonSerializer.Deserialize<InputSchema>(City)!,
    };

    private static readonly GenerationOptions s_silent = new() { Temperature = 0, Thinking = false, MaxReasoningTokens = 0 };

    private RunningServer _server = null!;
    private AnthropicClient _client = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _client = _server.Anthropic();
    }

    [OneTimeTearDown]
    public void Stop() => _client.Dispose();

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_as_the_model_does()
    {
        GenerationResult expected = _server.Model.Generate(Capital, new GenerationOptions { Temperature = 0 });
        Message message = await _client.Messages.Create(Ask(Capital) with { Thinking = new ThinkingConfigEnabled(1024) });
        Assert.That(message.Content, Has.Count.EqualTo(2));
        Assert.That(message.Content[0].TryPickThinking(out ThinkingBlock? thinking), Is.True);
        Assert.That(message.Content[1].TryPickText(out TextBlock? text), Is.True);
        Assert.That((thinking!.Thinking, text!.Text), Is.EqualTo((expected.Reasoning, expected.Text)));
        Assert.That((message.StopReason!.Value(), message.Model.Raw()), Is.EqualTo((StopReason.EndTurn, "kimi-nano")));
        Assert.That(message.Usage.InputTokens + message.Usage.CacheReadInputTokens, Is.EqualTo(expected.Usage.PromptTokens));
        Assert.That(message.Usage.OutputTokens, Is.EqualTo(expected.Usage.CompletionTokens));
        Assert.That(message.Usage.CacheReadInputTokens, Is.Positive, "the prompt was asked before");
    }

    [Test]
    public async Task Thinks_only_where_it_is_asked_to()
    {
        GenerationResult expected = _server.Model.Generate(Capital, s_silent);
        foreach (MessageCreateParams request in new[] { Ask(Capital), Ask(Capital) with { OutputConfig = new OutputConfig { Effort = Effort.High } }, Ask(Capital) with { Thinking = new ThinkingConfigDisabled() } })
        {
            Message message = await _client.Messages.Create(request);
            Assert.That(message.Content.Single().TryPickText(out TextBlock? text), Is.True);
            Assert.That(text!.Text, Is.EqualTo(expected.Text));
        }

        Message thoughtful = await _client.Messages.Create(Ask(Capital) with { Thinking = new ThinkingConfigAdaptive(), OutputConfig = new OutputConfig { Effort = Effort.Low } });
        Assert.That(thoughtful.Content[0].TryPickThinking(out _), Is.True);
    }

    [Test]
    public async Task Streams_what_it_answers()
    {
        MessageCreateParams request = Ask("Who are you?") with { System = "Be brief.", Thinking = new ThinkingConfigEnabled(1024) };
        GenerationResult expected = _server.Model.Generate([KimiMessage.System("Be brief."), KimiMessage.User("Who are you?")], new GenerationOptions { Temperature = 0 });
        List<RawMessageStreamEvent> events = await StreamAsync(_client, request);
        RawContentBlockDelta[] deltas = [.. events.Select(e => e.TryPickContentBlockDelta(out RawContentBlockDeltaEvent? delta) ? delta.Delta : null).OfType<RawContentBlockDelta>()];
        string[] text = [.. deltas.Select(d => d.TryPickText(out TextDelta? piece) ? piece.Text : null).OfType<string>()];
        string[] thinking = [.. deltas.Select(d => d.TryPickThinking(out ThinkingDelta? piece) ? piece.Thinking : null).OfType<string>()];
        Assert.That(string.Concat(text), Is.EqualTo(expected.Text));
        Assert.That(string.Concat(thinking), Is.EqualTo(expected.Reasoning ?? ""));
        Assert.That(text, Has.Length.GreaterThan(1));

        Message added = await _client.Messages.CreateStreaming(request).Aggregate();
        Message whole = await _client.Messages.Create(request);
        Assert.That(added.Content, Has.Count.EqualTo(whole.Content.Count));
        Assert.That(added.Content.Zip(whole.Content, (a, w) => JsonElement.DeepEquals(a.Json, w.Json)), Is.All.True);
        Assert.That((added.StopReason!.Value(), added.Usage.OutputTokens), Is.EqualTo((whole.StopReason!.Value(), whole.Usage.OutputTokens)));
    }

    [Test]
    public async Task Carries_tool_calls_and_their_results()
    {
        MessageCreateParams request = Ask(Weather) with { Tools = [s_weather] };
        Message asked = await _client.Messages.Create(request);
        Assert.That(asked.StopReason!.Value(), Is.EqualTo(StopReason.ToolUse));
        Assert.That(asked.Content.Single().TryPickToolUse(out ToolUseBlock? call), Is.True);
        Assert.That((call!.Name, call.Input["city"].GetString()), Is.EqualTo(("get_weather", "Oslo")));
        Assert.That(call.ID, Does.StartWith("toolu_"));

        Message answer = await _client.Messages.Create(request with
        {
            Messages =
            [
                .. request.Messages,
                new AssistantMessageParam(new List<ContentBlockParam> { new ToolUseBlockParam { ID = call.ID, Name = call.Name, Input = call.Input } }),
                new UserMessageParam(new List<ContentBlockParam> { new ToolResultBlockParam(call.ID) { Content = Result } }),
            ],
        });
        KimiTool tool = new("get_weather", s_weather.Description, City);
        GenerationResult expected = _server.Model.Generate(
            [KimiMessage.User(Weather), KimiMessage.Assistant("") with { ToolCalls = [new KimiToolCall("functions.get_weather:0", "get_weather", """{"city": "Oslo"}""")] }, KimiMessage.Tool("functions.get_weather:0", Result)],
            s_silent with { Tools = [tool] });
        Assert.That(answer.Content.Single().TryPickText(out TextBlock? text), Is.True);
        Assert.That(text!.Text, Is.EqualTo(expected.Text).And.Contains("12"));
    }

    [Test]
    public async Task Streams_tool_calls_in_pieces_that_add_up()
    {
        MessageCreateParams request = Ask("What is the weather in Oslo and in Rome?") with { Tools = [s_weather] };
        Message whole = await _client.Messages.Create(request);
        ToolUseBlock[] calls = [.. whole.Content.Select(c => c.TryPickToolUse(out ToolUseBlock? call) ? call : null).OfType<ToolUseBlock>()];
        Assert.That(calls.Select(c => c.Input["city"].GetString()), Is.EqualTo(new[] { "Oslo", "Rome" }));

        var arguments = new Dictionary<long, string>();
        var names = new Dictionary<long, string>();
        foreach (RawMessageStreamEvent update in await StreamAsync(_client, request))
        {
            if (update.TryPickContentBlockStart(out RawContentBlockStartEvent? start) && start.ContentBlock.TryPickToolUse(out ToolUseBlock? begun))
            {
                names.Add(start.Index, begun.Name);
                arguments.Add(start.Index, "");
            }
            else if (update.TryPickContentBlockDelta(out RawContentBlockDeltaEvent? delta) && delta.Delta.TryPickInputJson(out InputJsonDelta? piece))
            {
                arguments[delta.Index] += piece.PartialJson;
            }
        }

        Assert.That(names.Values, Is.EqualTo(calls.Select(c => c.Name)));
        Assert.That(arguments.Values.Select(a => JsonSerializer.Serialize(JsonElement.Parse(a))), Is.EqualTo(calls.Select(c => JsonSerializer.Serialize(c.Input))));

        Message single = await _client.Messages.Create(request with { ToolChoice = new ToolChoiceAny { DisableParallelToolUse = true } });
        Assert.That(single.Content.Count(c => c.TryPickToolUse(out _)), Is.EqualTo(1));
    }

    [Test]
    public async Task Holds_answers_to_a_schema()
    {
        var schema = JsonSerializer.Deserialize<Dictionary<string, JsonElement>>("""{"type":"object","properties":{"colour":{"enum":["red","green"]}},"required":["colour"],"additionalProperties":false}""")!;
        Message message = await _client.Messages.Create(Ask("Which colour is grass?") with { OutputConfig = new OutputConfig { Format = new JsonOutputFormat { Schema = schema } } });
        Assert.That(message.Content.Single().TryPickText(out TextBlock? text), Is.True);
        Assert.That(JsonElement.Parse(text!.Text).GetProperty("colour").GetString(), Is.AnyOf("red", "green"));
    }

    [Test]
    public async Task Counts_tokens_as_the_model_does()
    {
        MessageTokensCount count = await _client.Messages.CountTokens(new MessageCountTokensParams { Model = "kimi-nano", System = "Be brief.", Messages = [new UserMessageParam(Weather)], Tools = [s_weather] });
        int[] prompt = _server.Model.EncodePrompt([KimiMessage.System("Be brief."), KimiMessage.User(Weather)], s_silent with { Tools = [new KimiTool("get_weather", s_weather.Description, City)] });
        Assert.That(count.InputTokens, Is.EqualTo(prompt.Length));
    }

    [Test]
    public async Task Lists_its_model()
    {
        ModelListPage models = await _client.Models.List();
        Assert.That(models.HasNext(), Is.False);
        ModelInfo model = await _client.Models.Retrieve("kimi-nano");
        foreach (ModelInfo found in new[] { models.Items.Single(), model })
        {
            Assert.That((found.ID, found.DisplayName), Is.EqualTo(("kimi-nano", "kimi-nano")));
            Assert.That(found.CreatedAt, Is.EqualTo(DateTimeOffset.UtcNow).Within(TimeSpan.FromHours(1)));
        }

        Assert.That(await RefusedAsync(() => _client.Models.Retrieve("gpt-9")), Is.TypeOf<AnthropicNotFoundException>());
    }

    [TestCase(400, typeof(AnthropicBadRequestException), "invalid_request_error", "+ 100000 > ")]
    [TestCase(401, typeof(AnthropicUnauthorizedException), "authentication_error", "API key")]
    [TestCase(404, typeof(AnthropicNotFoundException), "not_found_error", "kimi-nano")]
    [TestCase(429, typeof(AnthropicRateLimitException), "rate_limit_error", "2 calls run or wait")]
    public async Task Tells_of_errors_by_their_types(int status, System.Type expected, string type, string said)
    {
        RunningServer server = await SharedServers.Guarded;
        using AnthropicClient client = server.Anthropic(status == 401 ? "key-3" : RunningServer.Key);
        MessageCreateParams request = Ask(Capital) with { Model = status == 404 ? "gpt-9" : "kimi-nano", MaxTokens = status == 400 ? 100_000 : 4 };
        async Task ExpectRefusalAsync()
        {
            foreach (Func<Task> ask in new Func<Task>[] { () => client.Messages.Create(request), () => StreamAsync(client, request) })
            {
                AnthropicApiException error = await RefusedAsync(ask);
                Assert.That(error, Is.TypeOf(expected));
                Assert.That(((int)error.StatusCode, error.Type!.Raw()), Is.EqualTo((status, type)));
                Assert.That(error.ApiMessage, Does.Contain(said));
                Assert.That(server.Log.Lines, Has.Some.Contains($"{error.RequestID}: refused with {status}"), "its id is the one of the log");
            }
        }

        await (status == 429 ? server.WhileFullAsync(ExpectRefusalAsync) : ExpectRefusalAsync());
        server.ExpectIdle();
    }

    [Test]
    public async Task Cancellation_ends_the_generation()
    {
        var schema = JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(RunningServer.EndlessSchema)!;
        MessageCreateParams endless = Ask("Sing.") with { MaxTokens = 1900, OutputConfig = new OutputConfig { Format = new JsonOutputFormat { Schema = schema } } };
        Exception? told = await _server.CancelAnswerAsync(async (cancelAsync, cancellationToken) =>
        {
            await foreach (RawMessageStreamEvent update in _client.Messages.CreateStreaming(endless, cancellationToken))
            {
                if (update.TryPickContentBlockDelta(out _))
                {
                    await cancelAsync();
                }
            }
        });
        Assert.That(told, Is.InstanceOf<OperationCanceledException>());
    }

    private static MessageCreateParams Ask(string question)
    {
        // The client leaves the temperature out, since its provider's newest models take none.
        var body = new Dictionary<string, JsonElement> { ["temperature"] = JsonElement.Parse("0") };
        return new MessageCreateParams(new Dictionary<string, JsonElement>(), new Dictionary<string, JsonElement>(), body) { Model = "kimi-nano", MaxTokens = 600, Messages = [new UserMessageParam(question)] };
    }

    private static async Task<List<RawMessageStreamEvent>> StreamAsync(AnthropicClient client, MessageCreateParams request)
    {
        List<RawMessageStreamEvent> events = [];
        await foreach (RawMessageStreamEvent update in client.Messages.CreateStreaming(request))
        {
            events.Add(update);
        }

        return events;
    }

    private static async Task<AnthropicApiException> RefusedAsync(Func<Task> ask)
    {
        try
        {
            await ask();
        }
        catch (AnthropicApiException e)
        {
            return e;
        }

        throw new AssertionException("The request was answered.");
    }
}
