// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;
using System.Text.Json;
using KimiCpu.Generation;
using NUnit.Framework.Constraints;
using OllamaSharp;
using OllamaSharp.Models;
using OllamaSharp.Models.Chat;
using OllamaSharp.Models.Exceptions;

namespace KimiCpu.Tests.Server.Clients;

/// <summary>What OllamaSharp gets from the server.</summary>
[TestFixture]
internal sealed class OllamaClientTests
{
    private const string Capital = "What is the capital of France?";
    private const string Weather = "What is the weather in Oslo?";

    private static readonly RequestOptions s_greedy = new() { Temperature = 0, NumPredict = 600 };
    private static readonly Tool s_weather = new()
    {
        Function = new Function
        {
            Name = "get_weather",
            Description = "Get the current weather for a city.",
            Parameters = new Parameters { Properties = new Dictionary<string, Property> { ["city"] = new() { Type = "string" } }, Required = ["city"] },
        },
    };

    private RunningServer _server = null!;
    private OllamaApiClient _client = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _client = _server.Ollama();
    }

    [OneTimeTearDown]
    public void Stop() => _client.Dispose();

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_as_the_model_does([Values] bool streamed)
    {
        GenerationResult expected = _server.Model.Generate(Capital, new GenerationOptions { Temperature = 0 });
        List<ChatResponseStream> lines = await ChatAsync(Ask(streamed, Capital));
        Assert.That(string.Concat(lines.Select(l => l.Message.Content)), Is.EqualTo(expected.Text));
        Assert.That(string.Concat(lines.Select(l => l.Message.Thinking)), Is.EqualTo(expected.Reasoning).And.Not.Empty);
        Assert.That(lines.Count, streamed ? Is.GreaterThan(10) : Is.EqualTo(1));
        var end = (ChatDoneResponseStream)lines[^1];
        Assert.That((end.Done, end.DoneReason, end.Model), Is.EqualTo((true, "stop", "kimi-nano")));
        Assert.That((end.PromptEvalCount, end.EvalCount), Is.EqualTo((expected.Usage.PromptTokens, expected.Usage.CompletionTokens)));

        ChatRequest silent = Ask(streamed, Capital);
        silent.Think = false;
        lines = await ChatAsync(silent);
        Assert.That(string.Concat(lines.Select(l => l.Message.Thinking)), Is.Empty);
        Assert.That(string.Concat(lines.Select(l => l.Message.Content)), Does.Contain("Paris"));
    }

    [Test]
    public async Task Keeps_a_conversation()
    {
        var chat = new OllamaSharp.Chat(_client, "Be brief.") { Options = s_greedy };
        Assert.That(await chat.SendAsync(Capital).StreamToEndAsync(), Does.Contain("Paris"));
        Assert.That(await chat.SendAsync("And of Italy?").StreamToEndAsync(), Is.Not.Empty);
        Assert.That(chat.Messages.Select(m => m.Role), Is.EqualTo(new ChatRole?[] { ChatRole.System, ChatRole.User, ChatRole.Assistant, ChatRole.User, ChatRole.Assistant }));
    }

    [Test]
    public async Task Generates_from_a_prompt_and_from_a_raw_text()
    {
        GenerationResult expected = _server.Model.Generate(Capital, new GenerationOptions { Temperature = 0 });
        GenerateDoneResponseStream answer = (await _client.GenerateAsync(new GenerateRequest { Prompt = Capital, Options = s_greedy }).StreamToEndAsync())!;
        Assert.That((answer.Response, answer.EvalCount), Is.EqualTo((expected.Text, expected.Usage.CompletionTokens)));

        int[] prompt = _server.Model.Tokenizer.Encode("ROMEO:\n");
        expected = _server.Model.Generate(prompt.AsMemory(), new GenerationOptions { Temperature = 0, MaxTokens = 8 });
        answer = (await _client.GenerateAsync(new GenerateRequest { Prompt = "ROMEO:\n", Raw = true, Options = new RequestOptions { Temperature = 0, NumPredict = 8 } }).StreamToEndAsync())!;
        Assert.That((answer.Response, answer.DoneReason), Is.EqualTo((expected.Text, "length")));
    }

    [Test]
    public async Task Carries_tool_calls_and_their_results([Values] bool streamed)
    {
        ChatRequest request = Ask(streamed, Weather);
        request.Tools = [s_weather];
        List<ChatResponseStream> lines = await ChatAsync(request);
        Message.ToolCall call = lines.SelectMany(l => l.Message.ToolCalls ?? []).Single();
        Assert.That((call.Function!.Name, $"{call.Function.Arguments!["city"]}"), Is.EqualTo(("get_weather", "Oslo")));
        Assert.That(call.Id, Is.Not.Empty);

        request.Messages =
        [
            .. request.Messages!,
            new Message { Role = ChatRole.Assistant, Content = "", ToolCalls = [call] },
            new Message { Role = ChatRole.Tool, Content = "12 degrees and sunny", ToolName = "get_weather" },
        ];
        lines = await ChatAsync(request);
        Assert.That(string.Concat(lines.Select(l => l.Message.Content)), Is.EqualTo("It is 12 degrees and sunny in Oslo."));
    }

    [Test]
    public async Task Holds_answers_to_a_schema()
    {
        ChatRequest request = Ask(streamed: false, "Which colour is grass?");
        request.Format = JsonElement.Parse("""{"type":"object","properties":{"colour":{"enum":["red","green"]}},"required":["colour"]}""");
        string answer = (await ChatAsync(request)).Single().Message.Content!;
        Assert.That(JsonElement.Parse(answer).GetProperty("colour").GetString(), Is.AnyOf("red", "green"));
    }

    [Test]
    public async Task Describes_its_model()
    {
        OllamaSharp.Models.Model listed = (await _client.ListLocalModelsAsync()).Single();
        Assert.That((listed.Name, listed.Digest.Length, listed.Details.ParameterSize), Is.EqualTo(("kimi-nano:latest", 64, "15.3M")));
        RunningModel running = (await _client.ListRunningModelsAsync()).Single();
        Assert.That((running.Name, running.Size, running.SizeVram), Is.EqualTo((listed.Name, listed.Size, 0)));
        Assert.That(running.ExpiresAt, Is.GreaterThan(DateTime.UtcNow.AddYears(20)));
        ShowModelResponse shown = await _client.ShowModelAsync("kimi-nano");
        Assert.That(shown.Capabilities, Is.EquivalentTo(new[] { "completion", "tools", "thinking" }));
        Assert.That((shown.Info.Architecture, $"{shown.Info.ExtraInfo!["kimi-k2.context_length"]}"), Is.EqualTo(("kimi-k2", "2048")));
        Assert.That(Version.Parse(await _client.GetVersionAsync()), Is.GreaterThan(new Version(0, 0)));
        Assert.That(await _client.IsRunningAsync(), Is.True);
    }

    [Test]
    public async Task Tells_of_errors_as_the_client_reads_them()
    {
        RunningServer server = await SharedServers.Guarded;
        using OllamaApiClient client = server.Ollama(RunningServer.Key);
        ChatRequest request = Ask(streamed: true, string.Concat(Enumerable.Repeat("one two three ", 2000)));
        Assert.That(async () => await client.ChatAsync(request).StreamToEndAsync(), Throws.TypeOf<OllamaException>().With.Message.Contains("prompt too long"));

        request = Ask(streamed: true, Capital);
        request.Model = "llama3";
        Assert.That(async () => await client.ChatAsync(request).StreamToEndAsync(), Refused(HttpStatusCode.NotFound));
        Assert.That(async () => await client.ShowModelAsync("llama3"), Refused(HttpStatusCode.NotFound));

        using OllamaApiClient stranger = server.Ollama("key-3");
        Assert.That(async () => await stranger.ListLocalModelsAsync(), Refused(HttpStatusCode.Unauthorized));
        await server.WhileFullAsync(() =>
        {
            Assert.That(async () => await client.ChatAsync(Ask(streamed: true, Capital)).StreamToEndAsync(), Refused(HttpStatusCode.TooManyRequests));
            return Task.CompletedTask;
        });
        server.ExpectIdle();
    }

    [Test]
    public async Task Cancellation_ends_the_generation()
    {
        ChatRequest endless = Ask(streamed: true, "Sing.");
        (endless.Think, endless.Format, endless.Options) = (false, JsonElement.Parse(RunningServer.EndlessSchema), new RequestOptions { NumPredict = 1900 });
        List<ChatResponseStream?> lines = [];
        Exception? told = await _server.CancelAnswerAsync(async (cancelAsync, cancellationToken) =>
        {
            lines.Clear();
            await foreach (ChatResponseStream? line in _client.ChatAsync(endless, cancellationToken))
            {
                lines.Add(line);
                await cancelAsync();
            }
        });
        Assert.That(told, Is.Null);
        Assert.That(lines.Select(l => l!.Done), Is.Not.Empty.And.All.False, "the client ends a cancelled stream without a word");
    }

    private static ChatRequest Ask(bool streamed, string question) => new() { Model = "kimi-nano", Messages = [new Message(ChatRole.User, question)], Options = s_greedy, Stream = streamed };

    private static EqualConstraint Refused(HttpStatusCode status) => Throws.TypeOf<HttpRequestException>().With.Property(nameof(HttpRequestException.StatusCode)).EqualTo(status);

    private async Task<List<ChatResponseStream>> ChatAsync(ChatRequest request)
    {
        List<ChatResponseStream> lines = [];
        await foreach (ChatResponseStream? line in _client.ChatAsync(request))
        {
            lines.Add(line!);
        }

        return lines;
    }
}
