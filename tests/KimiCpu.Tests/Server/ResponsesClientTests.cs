// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

#pragma warning disable OPENAI001, SCME0001 // The client for this endpoint and its patches are marked as experimental.

using System.ClientModel;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using OpenAI.Responses;

namespace KimiCpu.Tests.Server;

/// <summary>What the official OpenAI client for responses gets from the server.</summary>
[TestFixture]
internal sealed class ResponsesClientTests
{
    private const string Capital = "What is the capital of France?";
    private const string Weather = "What is the weather in Oslo?";
    private const string City = """{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}""";

    private static readonly FunctionTool s_weather = ResponseTool.CreateFunctionTool("get_weather", BinaryData.FromString(City), true, "Get the current weather for a city.");

    private RunningServer _server = null!;
    private ResponsesClient _client = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _server = await SharedServers.Plain;
        _client = _server.Client().GetResponsesClient();
    }

    [TearDown]
    public void ExpectNoLeak() => _server.ExpectNoLeak();

    [Test]
    public async Task Answers_as_the_model_does()
    {
        GenerationResult expected = _server.Model.Generate(Capital, new GenerationOptions { Temperature = 0 });
        CreateResponseOptions options = Ask(Capital);
        options.Metadata["run"] = "7";
        ResponseResult response = await _client.CreateResponseAsync(options);
        Assert.That(response.GetOutputText(), Is.EqualTo(expected.Text).And.Contains("Paris"));
        Assert.That(response.OutputItems, Has.Count.EqualTo(2));
        Assert.That(response.OutputItems[0], Is.InstanceOf<ReasoningResponseItem>());
        Assert.That(response.OutputItems[1], Is.InstanceOf<MessageResponseItem>());
        Assert.That(response.OutputItems.Select(i => i.Id), Is.Unique.And.All.Not.Empty);
        Assert.That((response.Status, response.Model, response.Metadata["run"]), Is.EqualTo((ResponseStatus.Completed, "kimi-nano", "7")));
        Assert.That((response.Usage.InputTokenCount, response.Usage.OutputTokenCount), Is.EqualTo((expected.Usage.PromptTokens, expected.Usage.CompletionTokens)));
        Assert.That(response.Usage.OutputTokenDetails.ReasoningTokenCount, Is.EqualTo(expected.Usage.ReasoningTokens).And.Positive);
        Assert.That(response.Usage.InputTokenDetails.CachedTokenCount, Is.Positive, "the prompt was asked before");
    }

    [Test]
    public async Task Streams_what_it_answers()
    {
        GenerationResult expected = _server.Model.Generate([KimiMessage.System("Be brief."), KimiMessage.User("Who are you?")], new GenerationOptions { Temperature = 0 });
        CreateResponseOptions options = Ask("Who are you?");
        options.Instructions = "Be brief.";
        List<StreamingResponseUpdate> updates = await StreamAsync(options);
        Assert.That(updates.Select(u => u.SequenceNumber), Is.EqualTo(Enumerable.Range(0, updates.Count)));
        Assert.That(string.Concat(updates.OfType<StreamingResponseOutputTextDeltaUpdate>().Select(u => u.Delta)), Is.EqualTo(expected.Text).And.Not.Empty);
        Assert.That(string.Concat(updates.OfType<StreamingResponseReasoningTextDeltaUpdate>().Select(u => u.Delta)), Is.EqualTo(expected.Reasoning ?? ""));
        Assert.That(updates[0], Is.InstanceOf<StreamingResponseCreatedUpdate>());
        ResponseResult last = ((StreamingResponseCompletedUpdate)updates[^1]).Response;
        Assert.That(last.GetOutputText(), Is.EqualTo(expected.Text));
        Assert.That(last.Usage.OutputTokenCount, Is.EqualTo(expected.Usage.CompletionTokens));
        Assert.That(last.Id, Is.EqualTo(((StreamingResponseCreatedUpdate)updates[0]).Response.Id));
    }

    [Test]
    public async Task Carries_tool_calls_and_their_outputs()
    {
        var generation = new GenerationOptions { Temperature = 0, Tools = [new KimiTool("get_weather", "Get the current weather for a city.", JsonDocument.Parse(City).RootElement)], ToolChoice = ToolChoice.Required };
        GenerationResult expected = _server.Model.Generate(Weather, generation);
        CreateResponseOptions options = Ask(Weather);
        options.Tools.Add(s_weather);
        options.ToolChoice = ResponseToolChoice.CreateRequiredChoice();
        options.ReasoningOptions = new ResponseReasoningOptions { ReasoningSummaryVerbosity = ResponseReasoningSummaryVerbosity.Auto };
        ResponseResult asked = await _client.CreateResponseAsync(options);
        FunctionCallResponseItem[] calls = [.. asked.OutputItems.OfType<FunctionCallResponseItem>()];
        Assert.That(calls.Select(c => new KimiToolCall(c.CallId, c.FunctionName, c.FunctionArguments.ToString())), Is.EqualTo(expected.ToolCalls).And.Not.Empty);
        Assert.That(calls.Select(c => c.Status), Is.All.EqualTo(FunctionCallStatus.Completed));

        CreateResponseOptions next = Ask(Weather);
        next.Tools.Add(s_weather);
        foreach (ResponseItem item in asked.OutputItems.Concat(calls.Select(c => ResponseItem.CreateFunctionCallOutputItem(c.CallId, "12 degrees and sunny"))))
        {
            next.InputItems.Add(item);
        }

        ResponseResult answer = await _client.CreateResponseAsync(next);
        KimiMessage[] conversation = [KimiMessage.User(Weather), expected.ToMessage() with { GeneratedTokens = null }, .. expected.ToolCalls.Select(c => KimiMessage.Tool(c.Id, "12 degrees and sunny"))];
        Assert.That(answer.Status, Is.EqualTo(ResponseStatus.Completed));
        Assert.That(answer.Usage.InputTokenCount, Is.EqualTo(_server.Model.EncodePrompt(conversation, generation with { ToolChoice = ToolChoice.Auto }).Length));
    }

    [Test]
    public async Task Streams_tool_calls_in_pieces_that_add_up()
    {
        CreateResponseOptions options = Ask(Weather);
        options.Tools.Add(s_weather);
        options.ToolChoice = ResponseToolChoice.CreateFunctionChoice("get_weather");
        options.ParallelToolCallsEnabled = false;
        List<StreamingResponseUpdate> updates = await StreamAsync(options);
        FunctionCallResponseItem call = ((StreamingResponseCompletedUpdate)updates[^1]).Response.OutputItems.OfType<FunctionCallResponseItem>().Single();
        StreamingResponseFunctionCallArgumentsDeltaUpdate[] pieces = [.. updates.OfType<StreamingResponseFunctionCallArgumentsDeltaUpdate>()];
        Assert.That(string.Concat(pieces.Select(p => p.Delta.ToString())), Is.EqualTo(call.FunctionArguments.ToString()));
        Assert.That(pieces.Select(p => p.ItemId), Is.All.EqualTo(call.Id));
        StreamingResponseFunctionCallArgumentsDoneUpdate done = updates.OfType<StreamingResponseFunctionCallArgumentsDoneUpdate>().Single();
        Assert.That((done.ItemId, done.FunctionArguments.ToString()), Is.EqualTo((call.Id, call.FunctionArguments.ToString())));
        Assert.That(JsonDocument.Parse(done.FunctionArguments).RootElement.GetProperty("city").ValueKind, Is.EqualTo(JsonValueKind.String));
    }

    [Test]
    public async Task Shows_reasoning_as_its_summary_where_one_is_asked_for_and_none_where_there_is_to_be_none()
    {
        GenerationResult expected = _server.Model.Generate(Capital, new GenerationOptions { Temperature = 0 });
        CreateResponseOptions options = Ask(Capital);
        options.ReasoningOptions = new ResponseReasoningOptions { ReasoningSummaryVerbosity = ResponseReasoningSummaryVerbosity.Detailed };
        List<StreamingResponseUpdate> updates = await StreamAsync(options);
        Assert.That(string.Concat(updates.OfType<StreamingResponseReasoningSummaryTextDeltaUpdate>().Select(u => u.Delta)), Is.EqualTo(expected.Reasoning).And.Not.Empty);
        ResponseResult last = ((StreamingResponseCompletedUpdate)updates[^1]).Response;
        Assert.That(last.OutputItems.OfType<ReasoningResponseItem>().Single().GetSummaryText(), Is.EqualTo(expected.Reasoning));

        options = Ask(Capital);
        options.ReasoningOptions = new ResponseReasoningOptions { ReasoningEffortLevel = ResponseReasoningEffortLevel.None };
        ResponseResult silent = await _client.CreateResponseAsync(options);
        Assert.That(silent.OutputItems.Single(), Is.InstanceOf<MessageResponseItem>());
        Assert.That(silent.Usage.OutputTokenDetails.ReasoningTokenCount, Is.Zero);
    }

    [Test]
    public async Task Holds_answers_to_a_schema()
    {
        CreateResponseOptions options = Ask("Which colour is grass?");
        options.MaxOutputTokenCount = 600;
        options.TextOptions = new ResponseTextOptions
        {
            TextFormat = ResponseTextFormat.CreateJsonSchemaFormat(
                "answer", BinaryData.FromString("""{"type":"object","properties":{"colour":{"enum":["red","green"]}},"required":["colour"],"additionalProperties":false}"""), jsonSchemaIsStrict: true),
        };
        ResponseResult response = await _client.CreateResponseAsync(options);
        Assert.That(JsonDocument.Parse(response.GetOutputText()).RootElement.GetProperty("colour").GetString(), Is.AnyOf("red", "green"));
        Assert.That(response.TextOptions.TextFormat.Kind, Is.EqualTo(ResponseTextFormatKind.JsonSchema));
    }

    [Test]
    public async Task Gives_log_probabilities_of_the_text_alone()
    {
        CreateResponseOptions options = Ask(Capital);
        options.IncludedProperties.Add(IncludedResponseProperty.MessageOutputTextLogProbabilities);
        options.TopLogProbabilityCount = 2;
        List<StreamingResponseUpdate> updates = await StreamAsync(options);
        MessageResponseItem message = ((StreamingResponseCompletedUpdate)updates[^1]).Response.OutputItems.OfType<MessageResponseItem>().Single();
        IReadOnlyList<ResponseTokenLogProbabilityDetails> tokens = message.Content.Single().OutputTextTokenLogProbabilities;
        Assert.That(string.Concat(tokens.Select(t => t.Token)), Is.EqualTo(message.Content.Single().Text).And.Not.Empty);
        Assert.That(tokens.Select(t => t.TopLogProbabilities.Count), Is.All.EqualTo(2));
        Assert.That(updates.OfType<StreamingResponseOutputTextDeltaUpdate>().SelectMany(u => u.TokenLogProbabilities).Select(t => t.Token), Is.EqualTo(tokens.Select(t => t.Token)));
    }

    [Test]
    public async Task Says_that_an_answer_was_cut_off()
    {
        CreateResponseOptions options = Ask(Capital);
        options.MaxOutputTokenCount = 3;
        ResponseResult response = await _client.CreateResponseAsync(options);
        Assert.That((response.Status, response.IncompleteStatusDetails.Reason), Is.EqualTo((ResponseStatus.Incomplete, ResponseIncompleteStatusReason.MaxOutputTokens)));
        Assert.That(response.Usage.OutputTokenCount, Is.EqualTo(3));
        Assert.That((await StreamAsync(options))[^1], Is.InstanceOf<StreamingResponseIncompleteUpdate>());
    }

    [Test]
    public async Task Tells_of_errors_in_a_form_that_the_client_reads()
    {
        CreateResponseOptions options = Ask(Capital);
        options.MaxOutputTokenCount = 100_000;
        ClientResultException error = await RefusedAsync(options);
        Assert.That(error.Status, Is.EqualTo(400));
        Assert.That(error.Message, Does.Contain("context_length_exceeded"));
        options = Ask(Capital);
        options.Model = "gpt-9";
        error = await RefusedAsync(options);
        Assert.That(error.Status, Is.EqualTo(404));
        Assert.That(error.Message, Does.Contain("model_not_found").And.Contain("kimi-nano"));
        options = Ask(Capital);
        options.PreviousResponseId = "resp_1";
        error = await RefusedAsync(options);
        Assert.That(error.Status, Is.EqualTo(400));
        Assert.That(error.Message, Does.Contain("previous_response_id").And.Contain("whole conversation"));
    }

    [Test]
    public async Task Cancellation_ends_the_generation()
    {
        using var cancellation = new CancellationTokenSource();
        CreateResponseOptions options = Ask("Tell me a story.");
        options.MaxOutputTokenCount = 1900;
        options.StreamingEnabled = true;
        options.Patch.Set("$.ignore_eos"u8, true);
        Assert.That(
            async () =>
            {
                await foreach (StreamingResponseUpdate update in await _client.CreateResponseStreamingAsync(options, cancellation.Token))
                {
                    if (update is StreamingResponseReasoningTextDeltaUpdate or StreamingResponseOutputTextDeltaUpdate)
                    {
                        await cancellation.CancelAsync();
                    }
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        _server.ExpectNoLeak();
        ResponseResult next = await _client.CreateResponseAsync(Ask(Capital));
        Assert.That(next.GetOutputText(), Does.Contain("Paris"));
    }

    private static CreateResponseOptions Ask(string question) => new("kimi-nano", [ResponseItem.CreateUserMessageItem(question)]) { Temperature = 0 };

    private async Task<List<StreamingResponseUpdate>> StreamAsync(CreateResponseOptions options)
    {
        options.StreamingEnabled = true;
        List<StreamingResponseUpdate> updates = [];
        await foreach (StreamingResponseUpdate update in await _client.CreateResponseStreamingAsync(options))
        {
            updates.Add(update);
        }

        return updates;
    }

    private async Task<ClientResultException> RefusedAsync(CreateResponseOptions options)
    {
        try
        {
            await _client.CreateResponseAsync(options);
        }
        catch (ClientResultException e)
        {
            return e;
        }

        throw new AssertionException("The request was answered.");
    }
}
