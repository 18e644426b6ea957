// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.ClientModel;
using System.Text;
using System.Text.Json;
using KimiCpu.Generation;
using OpenAI.Chat;
using OpenAI.Models;

namespace KimiCpu.Tests.Server;

/// <summary>What the official OpenAI client gets from the server.</summary>
[TestFixture]
internal sealed class OpenAIClientTests
{
    private static readonly ChatCompletionOptions s_greedy = new() { Temperature = 0 };
    private static readonly ChatTool s_weather = ChatTool.CreateFunctionTool(
        "get_weather",
        "Get the current weather for a city.",
        BinaryData.FromString("""{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"""));

    private RunningServer _server = null!;
    private ChatClient _client = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _client = _server.Client().GetChatClient("kimi-nano");
    }

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_as_the_model_does()
    {
        GenerationResult expected = _server.Model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        ChatCompletion completion = await _client.CompleteChatAsync([new UserChatMessage("What is the capital of France?")], s_greedy);
        Assert.That(completion.Content.Single().Text, Is.EqualTo(expected.Text).And.Contains("Paris"));
        Assert.That(completion.FinishReason, Is.EqualTo(ChatFinishReason.Stop));
        Assert.That(completion.Model, Is.EqualTo("kimi-nano"));
        Assert.That((completion.Usage.InputTokenCount, completion.Usage.OutputTokenCount), Is.EqualTo((expected.Usage.PromptTokens, expected.Usage.CompletionTokens)));
        Assert.That(completion.Usage.OutputTokenDetails.ReasoningTokenCount, Is.EqualTo(expected.Usage.ReasoningTokens));
        Assert.That(completion.Usage.InputTokenDetails.CachedTokenCount, Is.Positive, "the prompt was asked before");
    }

    [Test]
    public async Task Streams_what_it_answers()
    {
        ChatMessage[] messages = [new SystemChatMessage("Be brief."), new UserChatMessage("Who are you?")];
        ChatCompletion whole = await _client.CompleteChatAsync(messages, s_greedy);
        var text = new StringBuilder();
        List<StreamingChatCompletionUpdate> updates = [];
        await foreach (StreamingChatCompletionUpdate update in _client.CompleteChatStreamingAsync(messages, s_greedy))
        {
            updates.Add(update);
            text.Append(string.Concat(update.ContentUpdate.Select(c => c.Text)));
        }

        Assert.That(text.ToString(), Is.EqualTo(whole.Content.Single().Text));
        Assert.That(updates[0].Role, Is.EqualTo(ChatMessageRole.Assistant));
        Assert.That(updates.Select(u => u.FinishReason).OfType<ChatFinishReason>(), Is.EqualTo(new[] { ChatFinishReason.Stop }));
        Assert.That(updates[^1].Usage.OutputTokenCount, Is.EqualTo(whole.Usage.OutputTokenCount), "the client asks for the usage");
        Assert.That(updates.Select(u => u.CompletionId).Distinct().Count(), Is.EqualTo(1));
    }

    [Test]
    public async Task Carries_tool_calls_and_their_results()
    {
        List<ChatMessage> messages = [new UserChatMessage("What is the weather in Oslo?")];
        var options = new ChatCompletionOptions { Temperature = 0, Tools = { s_weather }, ToolChoice = ChatToolChoice.CreateRequiredChoice() };
        ChatCompletion asked = await _client.CompleteChatAsync(messages, options);
        Assert.That(asked.FinishReason, Is.EqualTo(ChatFinishReason.ToolCalls));
        ChatToolCall call = asked.ToolCalls[0];
        Assert.That(call.FunctionName, Is.EqualTo("get_weather"));
        Assert.That(JsonDocument.Parse(call.FunctionArguments).RootElement.GetProperty("city").ValueKind, Is.EqualTo(JsonValueKind.String));

        messages.Add(new AssistantChatMessage(asked));
        messages.AddRange(asked.ToolCalls.Select(c => new ToolChatMessage(c.Id, "12 degrees and sunny")));
        ChatCompletion answer = await _client.CompleteChatAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { s_weather } });
        Assert.That(answer.FinishReason, Is.AnyOf(ChatFinishReason.Stop, ChatFinishReason.ToolCalls));
        Assert.That(answer.Usage.InputTokenCount, Is.GreaterThan(asked.Usage.InputTokenCount));
    }

    [Test]
    public async Task Streams_tool_calls_in_pieces_that_add_up()
    {
        ChatMessage[] messages = [new UserChatMessage("What is the weather in Oslo?")];
        var options = new ChatCompletionOptions { Temperature = 0, Tools = { s_weather }, ToolChoice = ChatToolChoice.CreateFunctionChoice("get_weather") };
        ChatCompletion whole = await _client.CompleteChatAsync(messages, options);
        var arguments = new StringBuilder();
        List<string> ids = [];
        ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in _client.CompleteChatStreamingAsync(messages, options))
        {
            foreach (StreamingChatToolCallUpdate piece in update.ToolCallUpdates)
            {
                Assert.That(piece.Index, Is.Zero);
                ids.AddRange(piece.ToolCallId is { Length: > 0 } id ? [id] : []);
                arguments.Append(piece.FunctionArgumentsUpdate);
            }

            reason = update.FinishReason ?? reason;
        }

        Assert.That(reason, Is.EqualTo(ChatFinishReason.ToolCalls));
        Assert.That(ids, Is.EqualTo(new[] { whole.ToolCalls.Single().Id }));
        Assert.That(arguments.ToString(), Is.EqualTo(whole.ToolCalls.Single().FunctionArguments.ToString()));
    }

    [Test]
    public async Task Holds_answers_to_a_schema()
    {
        var options = new ChatCompletionOptions
        {
            Temperature = 0,
            MaxOutputTokenCount = 600,
            ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat(
                "answer", BinaryData.FromString("""{"type":"object","properties":{"colour":{"enum":["red","green"]}},"required":["colour"],"additionalProperties":false}"""), jsonSchemaIsStrict: true),
        };
        ChatCompletion completion = await _client.CompleteChatAsync([new UserChatMessage("Which colour is grass?")], options);
        Assert.That(JsonDocument.Parse(completion.Content.Single().Text).RootElement.GetProperty("colour").GetString(), Is.AnyOf("red", "green"));
    }

    [Test]
    public async Task Gives_log_probabilities_of_the_text_alone()
    {
        var options = new ChatCompletionOptions { Temperature = 0, IncludeLogProbabilities = true, TopLogProbabilityCount = 2 };
        ChatCompletion completion = await _client.CompleteChatAsync([new UserChatMessage("What is the capital of France?")], options);
        Assert.That(string.Concat(completion.ContentTokenLogProbabilities.Select(t => t.Token)), Is.EqualTo(completion.Content.Single().Text));
        Assert.That(completion.ContentTokenLogProbabilities.Select(t => t.TopLogProbabilities.Count), Is.All.EqualTo(2));
        Assert.That(completion.ContentTokenLogProbabilities.Select(t => t.LogProbability), Is.All.InRange(-100f, 0f));
    }

    [Test]
    public async Task Tells_of_errors_in_a_form_that_the_client_reads()
    {
        ClientResultException error = await RefusedAsync(_client, new ChatCompletionOptions { MaxOutputTokenCount = 100_000 });
        Assert.That(error.Status, Is.EqualTo(400));
        Assert.That(error.Message, Does.Contain("context_length_exceeded"));
        error = await RefusedAsync(_server.Client().GetChatClient("gpt-9"), s_greedy);
        Assert.That(error.Status, Is.EqualTo(404));
        Assert.That(error.Message, Does.Contain("model_not_found").And.Contain("kimi-nano"));
    }

    [Test]
    public async Task Cancellation_ends_the_generation()
    {
        using var cancellation = new CancellationTokenSource();
        var options = new ChatCompletionOptions { Temperature = 0, MaxOutputTokenCount = 1900, LogitBiases = { [_server.Model.Tokenizer.SpecialTokenIds["<|im_end|>"]] = -100 } };
        Assert.That(
            async () =>
            {
                await foreach (StreamingChatCompletionUpdate update in _client.CompleteChatStreamingAsync([new UserChatMessage("Tell me a story.")], options, cancellation.Token))
                {
                    if (update.ContentUpdate.Count > 0)
                    {
                        await cancellation.CancelAsync();
                    }
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        _server.ExpectNoLeak();
        ChatCompletion next = await _client.CompleteChatAsync([new UserChatMessage("What is the capital of France?")], s_greedy);
        Assert.That(next.Content.Single().Text, Does.Contain("Paris"));
    }

    [Test]
    public async Task Lists_its_model()
    {
        OpenAIModelCollection models = await _server.Client().GetOpenAIModelClient().GetModelsAsync();
        Assert.That(models.Single().Id, Is.EqualTo("kimi-nano"));
        OpenAIModel model = await _server.Client().GetOpenAIModelClient().GetModelAsync("kimi-nano");
        Assert.That(model.OwnedBy, Is.EqualTo("kimicpu"));
    }

    private static async Task<ClientResultException> RefusedAsync(ChatClient client, ChatCompletionOptions options)
    {
        try
        {
            await client.CompleteChatAsync([new UserChatMessage("Hello")], options);
        }
        catch (ClientResultException e)
        {
            return e;
        }

        throw new AssertionException("The request was answered.");
    }
}
