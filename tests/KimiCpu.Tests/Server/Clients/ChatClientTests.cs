// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Server.Clients;

/// <summary>What applications on Microsoft.Extensions.AI get from the server, through each of its interfaces.</summary>
/// <param name="kind">Which client.</param>
[TestFixtureSource(typeof(ChatClientKind), nameof(ChatClientKind.All))]
internal sealed class ChatClientTests(ChatClientKind kind)
{
    private const string Capital = "What is the capital of France?";
    private const string Weather = "What is the weather in Oslo?";

    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 600 };

    private RunningServer _server = null!;
    private IChatClient _client = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _client = kind.Create(_server, "none", "kimi-nano");
    }

    [OneTimeTearDown]
    public void Stop() => _client.Dispose();

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_as_the_model_does()
    {
        GenerationResult expected = _server.Model.Generate(Capital, s_greedy);
        ChatResponse response = await _client.GetResponseAsync(Capital, kind.Options());
        Assert.That((response.Text, ReasoningOf(response)), Is.EqualTo((expected.Text, expected.Reasoning)));
        Assert.That(response.ModelId, Is.EqualTo("kimi-nano"));
        Assert.That((response.Usage!.InputTokenCount, response.Usage.OutputTokenCount), Is.EqualTo(((long?)expected.Usage.PromptTokens, (long?)expected.Usage.CompletionTokens)));
        ExpectFinish(response, ChatFinishReason.Stop);

        ChatResponse silent = await _client.GetResponseAsync(Capital, kind.Options(ReasoningEffort.None));
        Assert.That(ReasoningOf(silent), Is.Empty);
        Assert.That(silent.Text, Does.Contain("Paris"));
    }

    [Test]
    public async Task Streams_what_it_answers()
    {
        ExpectStreams();
        ChatMessage[] messages = [new(ChatRole.System, "Be brief."), new(ChatRole.User, "Who are you?")];
        ChatResponse whole = await _client.GetResponseAsync(messages, kind.Options());
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync(messages, kind.Options()))
        {
            updates.Add(update);
        }

        ChatResponse added = updates.ToChatResponse();
        Assert.That((added.Text, ReasoningOf(added)), Is.EqualTo((whole.Text, ReasoningOf(whole))));
        Assert.That(updates.Count(u => u.Text.Length > 0), Is.GreaterThan(1));
        Assert.That(added.Usage!.OutputTokenCount, Is.EqualTo(whole.Usage!.OutputTokenCount));
        ExpectFinish(added, ChatFinishReason.Stop);
    }

    [Test]
    public async Task Hands_out_calls_of_tools_and_takes_their_results([Values] bool streamed)
    {
        ChatOptions options = WithWeather(_ => "");
        List<ChatMessage> messages = [new(ChatRole.User, "What is the weather in Oslo and in Rome?")];
        ChatResponse asked = await AskAsync(_client, messages, options, streamed);
        FunctionCallContent[] calls = [.. asked.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>()];
        Assert.That(calls.Select(c => (c.Name, City(c))), Is.EqualTo(new[] { ("get_weather", "Oslo"), ("get_weather", "Rome") }));
        Assert.That(calls.Select(c => c.CallId), Is.Unique.And.All.Not.Empty);

        messages.AddRange(asked.Messages);
        messages.Add(new ChatMessage(ChatRole.Tool, [.. calls.Select(c => new FunctionResultContent(c.CallId, City(c) == "Oslo" ? "12 degrees and sunny" : "25 degrees and cloudy"))]));
        ChatResponse answer = await AskAsync(_client, messages, options, streamed);
        Assert.That(answer.Text, Does.Match("12 degrees and sunny.*Oslo.*25 degrees and cloudy.*Rome"));
    }

    [Test]
    public async Task A_whole_tool_loop_runs_by_itself([Values] bool streamed)
    {
        List<string> cities = [];
        using IChatClient client = _client.AsBuilder().UseFunctionInvocation().Build();
        ChatOptions options = WithWeather(city =>
        {
            cities.Add(city);
            return "12 degrees and sunny";
        });
        ChatResponse response = await AskAsync(client, [new(ChatRole.User, Weather)], options, streamed);
        Assert.That(cities, Is.EqualTo(new[] { "Oslo" }));
        Assert.That(response.Messages.Select(m => m.Role), Is.EqualTo(new[] { ChatRole.Assistant, ChatRole.Tool, ChatRole.Assistant }));
        Assert.That(response.Text, Is.EqualTo("It is 12 degrees and sunny in Oslo."));
        ExpectFinish(response, ChatFinishReason.Stop);
    }

    [Test]
    public async Task Tools_are_required_and_forbidden()
    {
        if (!kind.RequiresTools)
        {
            Assert.Ignore("The interface has no choice of tools.");
        }

        ChatOptions options = WithWeather(_ => "");
        options.ToolMode = ChatToolMode.RequireAny;
        Assert.That((await _client.GetResponseAsync(Capital, options)).Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>(), Is.Not.Empty);
        options.ToolMode = ChatToolMode.None;
        Assert.That((await _client.GetResponseAsync(Weather, options)).Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>(), Is.Empty);
    }

    [Test]
    public async Task Holds_answers_to_a_type()
    {
        ChatResponse<Grass> response = await _client.GetResponseAsync<Grass>("Which colour is grass?", kind.Options());
        Assert.That(response.Result.Colour, Is.AnyOf(Colour.Red, Colour.Green));
    }

    [TestCase(400)]
    [TestCase(401)]
    [TestCase(404)]
    [TestCase(429)]
    public async Task Tells_of_errors_by_the_exceptions_of_the_client(int status)
    {
        RunningServer server = await SharedServers.Guarded;
        string model = status == 404 ? "gpt-9" : "kimi-nano";
        using IChatClient client = kind.Create(server, status == 401 ? "key-3" : RunningServer.Key, model);
        ChatOptions options = kind.Options();
        options.ModelId = model;
        options.MaxOutputTokens = 4;
        string prompt = status == 400 ? string.Concat(Enumerable.Repeat("one two three ", 2000)) : "Hello";
        async Task ExpectRefusalAsync()
        {
            Assert.That(await StatusAsync(() => client.GetResponseAsync(prompt, options)), Is.EqualTo(status));
            if (kind.Streams)
            {
                Assert.That(await StatusAsync(() => client.GetStreamingResponseAsync(prompt, options).ToChatResponseAsync()), Is.EqualTo(status), "a stream as well, before it begins");
            }
        }

        await (status == 429 ? server.WhileFullAsync(ExpectRefusalAsync) : ExpectRefusalAsync());
        server.ExpectIdle();
    }

    [Test]
    public async Task Cancellation_ends_the_generation()
    {
        ExpectStreams();
        ChatOptions options = kind.Options(ReasoningEffort.None);
        options.MaxOutputTokens = 1900;
        options.ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonElement.Parse(RunningServer.EndlessSchema));
        Exception? told = await _server.CancelAnswerAsync(async (cancelAsync, cancellationToken) =>
        {
            await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync("Sing.", options, cancellationToken))
            {
                if (update.Text.Length > 0)
                {
                    await cancelAsync();
                }
            }
        });
        Assert.That(told, kind.ThrowsWhenCancelled ? Is.InstanceOf<OperationCanceledException>() : Is.Null);
    }

    private static string ReasoningOf(ChatResponse response) => string.Concat(response.Messages.SelectMany(m => m.Contents).OfType<TextReasoningContent>().Select(r => r.Text));

    private static string City(FunctionCallContent call) => $"{call.Arguments!["city"]}";

    private ChatOptions WithWeather(Func<string, string> weather)
    {
        ChatOptions options = kind.Options(ReasoningEffort.None);
        options.Tools = [AIFunctionFactory.Create((string city) => weather(city), "get_weather", "Get the current weather for a city.")];
        return options;
    }

    private async Task<ChatResponse> AskAsync(IChatClient client, IEnumerable<ChatMessage> messages, ChatOptions options, bool streamed)
    {
        if (!streamed)
        {
            return await client.GetResponseAsync(messages, options);
        }

        ExpectStreams();
        return await client.GetStreamingResponseAsync(messages, options).ToChatResponseAsync();
    }

    /// <summary>What an exception of the client's own tells; null where there is an answer.</summary>
    private async Task<int?> StatusAsync(Func<Task> ask)
    {
        try
        {
            await ask();
            return null;
        }
        catch (Exception e) when (kind.StatusOf(e) is not null)
        {
            return kind.StatusOf(e);
        }
    }

    private void ExpectFinish(ChatResponse response, ChatFinishReason expected) => Assert.That(response.FinishReason, Is.EqualTo(kind.TellsFinish ? expected : (ChatFinishReason?)null));

    private void ExpectStreams()
    {
        if (!kind.Streams)
        {
            Assert.Ignore("The two packages of the client do not fit.");
        }
    }

    private enum Colour
    {
        Red,
        Green,
    }

    private sealed record Grass(Colour Colour);
}
