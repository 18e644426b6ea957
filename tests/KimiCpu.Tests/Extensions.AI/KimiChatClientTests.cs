// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Extensions.AI;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;
using KimiCpu.Tests.Server;
using KimiCpu.Tokens;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using DescriptionAttribute = System.ComponentModel.DescriptionAttribute;

namespace KimiCpu.Tests.Extensions.AI;

[TestFixture]
internal sealed class KimiChatClientTests
{
    private static readonly ChatOptions s_greedy = new() { Temperature = 0 };
    private KimiModel _model = null!;
    private KimiChatClient _client = null!;

    [OneTimeSetUp]
    public void Open()
    {
        _model = KimiModel.OpenEmbedded();
        _client = _model.AsIChatClient();
    }

    [OneTimeTearDown]
    public void Close()
    {
        _client.Dispose();
        _model.Dispose();
    }

    [Test]
    public void Null_is_refused_before_anything_runs()
    {
        Expect("messages", "", () => _client.GetStreamingResponseAsync((IEnumerable<ChatMessage>)null!));
        Expect("messages", "messages[0] is null", () => _client.GetStreamingResponseAsync([null!]));
        Expect("options", "ChatOptions.Tools[0] is null", () => _client.GetStreamingResponseAsync([new(ChatRole.User, "a")], new ChatOptions { Tools = [null!] }));
        Expect("options", "'min_p' cannot be x", () => _client.GetStreamingResponseAsync([new(ChatRole.User, "a")], new ChatOptions { AdditionalProperties = new() { ["min_p"] = "x" } }));
        Expect("model", "", () => ((IKimiModel)null!).AsIChatClient());
        Expect("serviceType", "", () => _client.GetService(null!));
        Assert.That(
            async () => await _client.GetResponseAsync([new(ChatRole.User, "a")], new ChatOptions { StopSequences = [null!] }),
            Throws.InstanceOf<ArgumentOutOfRangeException>().With.Message.Contains("StopSequences takes texts of at least one character; found null"));

        static void Expect(string parameter, string problem, Func<object?> call) =>
            Assert.That(call, Throws.InstanceOf<ArgumentException>().With.Property(nameof(ArgumentException.ParamName)).EqualTo(parameter).And.Message.Contains(problem));
    }

    private static IEnumerable<TestCaseData> WrongOptions()
    {
        AIFunction tool = AIFunctionFactory.Create((string city) => "", "get_weather");
        yield return Wrong("Temperature", new() { Temperature = -1 });
        yield return Wrong("TopP", new() { TopP = 2 });
        yield return Wrong("TopK", new() { TopK = -1 });
        yield return Wrong("PresencePenalty", new() { PresencePenalty = 3 });
        yield return Wrong("StopSequences", new() { StopSequences = [""] });
        yield return Wrong("MinP", new() { AdditionalProperties = new() { ["min_p"] = 1 } });
        yield return Wrong("TopLogProbabilities", new() { AdditionalProperties = new() { ["top_logprobs"] = 3 } });
        yield return Wrong("'other' is demanded", new() { Tools = [tool], ToolMode = ChatToolMode.RequireSpecific("other") });
        yield return Wrong("no tool is declared", new() { ToolMode = ChatToolMode.RequireAny });
        yield return Wrong("Two tools are called 'get_weather'", new() { Tools = [tool, tool] });
        yield return Wrong("IgnoreEndOfText", new() { ResponseFormat = ChatResponseFormat.Json, RawRepresentationFactory = _ => new GenerationOptions { IgnoreEndOfText = true } });

        static TestCaseData Wrong(string problem, ChatOptions options) => new TestCaseData(problem, options).SetArgDisplayNames(problem);
    }

    [TestCaseSource(nameof(WrongOptions))]
    public void What_the_options_say_is_refused_at_the_call(string problem, ChatOptions options) =>
        Assert.That(() => _client.GetStreamingResponseAsync("Who are you?", options), Throws.InstanceOf<ArgumentException>().With.Message.Contains(problem));

    [Test]
    public async Task Keys_of_frameworks_fail_no_call_and_are_one_line_of_the_log_at_debug()
    {
        using var log = new LogLines();
        using ILoggerFactory loggers = LoggerFactory.Create(b => b.AddProvider(log).SetMinimumLevel(LogLevel.Debug));
        using KimiChatClient client = KimiModel.OpenEmbedded(new KimiModelOptions { LoggerFactory = loggers }).AsIChatClient(ownsModel: true);
        var options = new ChatOptions { MaxOutputTokens = 1, AdditionalProperties = new() { ["agui_input"] = new object(), ["ag_ui_thread_id"] = "t1" } };
        Assert.That((await client.GetResponseAsync("Who are you?", options)).Usage!.OutputTokenCount, Is.EqualTo(1));
        options.AdditionalProperties = null;
        await client.GetResponseAsync("Who are you?", options);
        Assert.That(log.Lines.Where(l => l.Contains("AdditionalProperties", StringComparison.Ordinal)), Has.Exactly(1).Items.And.All.Contains("agui_input, ag_ui_thread_id"));
    }

    /// <summary>Whoever is refused is told to come again, and would compile a schema each time.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_full_model_compiles_no_schema(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 } });
        using KimiChatClient client = model.AsIChatClient();
        var endless = new GenerationOptions { Temperature = 1, Seed = 1, IgnoreEndOfText = true };
        await using IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", endless, cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await stream.MoveNextAsync());
        using var held = new HeldEngine(model.Engine);
        await held.HoldAsync();
        var refused = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"not":{"type":"string"}}""")) };
        await Assert.ThatAsync(async () => await client.GetResponseAsync("Who are you?", refused, cancellationToken), Throws.TypeOf<KimiBusyException>(), "compiling would have told what is wrong with it");
    }

    /// <summary>A user interface's thread, say: to encode a prompt and to compile schemas can take seconds.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_call_is_prepared_on_another_thread_than_the_callers([Values] bool streamed, CancellationToken cancellationToken)
    {
        using var begun = new ManualResetEventSlim();
        using var client = new KimiChatClient(StandInModel.Of(_model, member =>
        {
            if (member.Name == nameof(IKimiModel.GenerateAsync))
            {
                begun.Wait(cancellationToken);
            }

            return null;
        }));
        Task<ChatResponse> answer = streamed
            ? client.GetStreamingResponseAsync("What is the capital of France?", s_greedy, cancellationToken).ToChatResponseAsync(cancellationToken)
            : client.GetResponseAsync("What is the capital of France?", s_greedy, cancellationToken);
        begun.Set();
        Assert.That((await answer).Text, Does.Contain("Paris"));
    }

    [Test]
    public async Task What_is_found_out_by_and_by_is_told_by_the_enumeration()
    {
        var refused = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"not":{"type":"string"}}""")) };
        IAsyncEnumerable<ChatResponseUpdate> held = _client.GetStreamingResponseAsync("Who are you?", refused);
        IAsyncEnumerable<ChatResponseUpdate> tooLong = _client.GetStreamingResponseAsync("Who are you?", new ChatOptions { MaxOutputTokens = int.MaxValue });
        await Assert.ThatAsync(async () => await held.ToListAsync(), Throws.TypeOf<KimiConstraintException>());
        await Assert.ThatAsync(async () => await tooLong.ToListAsync(), Throws.TypeOf<ContextLengthException>());
    }

    [Test]
    public async Task An_answer_that_is_passed_back_keeps_the_tokens_that_the_model_wrote()
    {
        ChatResponse response = await _client.GetResponseAsync("What is the capital of France?", s_greedy);
        ChatMessage answer = response.Messages.Single();
        IReadOnlyList<KimiMessage> read = MessageReader.Read([new(ChatRole.User, "What is the capital of France?"), answer], null);
        Assert.That(read[1].GeneratedTokens, Is.EqualTo(((GenerationResult)response.RawRepresentation!).Tokens));
        Assert.That(read[0].GeneratedTokens, Is.Null);
    }

    /// <summary>As of an agent that goes on after an answer that its limit ended: the cache has two turns, and the first one's reasoning ends with it.</summary>
    [TestCase(false, true)]
    [TestCase(false, false)]
    [TestCase(true, true)]
    public async Task Two_answers_in_a_row_stay_two_turns_and_the_parts_of_one_do_not(bool streamed, bool withIds)
    {
        ChatMessage[] answers = [await Answer(), await Answer()];
        KimiMessage[] read = [.. MessageReader.Read([new(ChatRole.User, "Who are you?"), .. answers], null)];
        Assert.That(read.Skip(1).Select(m => m.Reasoning), Is.EqualTo(answers.Select(a => ((TextReasoningContent)a.Contents[0]).Text)));
        ChatMessage rest = answers[1].Clone();
        rest.Contents = [new TextContent("t")];
        Assert.That(MessageReader.Read([.. answers, rest], null).Select(m => m.Content), Is.EqualTo(new[] { "", "t" }));

        async Task<ChatMessage> Answer()
        {
            var options = new ChatOptions { Temperature = 0, MaxOutputTokens = 4 };
            ChatResponse response = streamed ? await _client.GetStreamingResponseAsync("Who are you?", options).ToChatResponseAsync() : await _client.GetResponseAsync("Who are you?", options);
            ChatMessage message = response.Messages.Single();
            message.MessageId = withIds ? message.MessageId : null;
            return message;
        }
    }

    [Test]
    public async Task Answers_as_the_model_does()
    {
        GenerationResult expected = _model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        ChatResponse response = await _client.GetResponseAsync("What is the capital of France?", s_greedy);
        Assert.That(response.Text, Is.EqualTo(expected.Text).And.Contains("Paris"));
        Assert.That(response.Messages.Single().Contents.OfType<TextReasoningContent>().Single().Text, Is.EqualTo(expected.Reasoning));
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.Stop));
        Assert.That(response.ModelId, Is.EqualTo("kimi-nano"));
        Assert.That(response.RawRepresentation, Is.TypeOf<GenerationResult>());
        UsageDetails usage = response.Usage!;
        Assert.That((usage.InputTokenCount, usage.OutputTokenCount, usage.ReasoningTokenCount), Is.EqualTo((expected.Usage.PromptTokens, expected.Usage.CompletionTokens, expected.Usage.ReasoningTokens)));
        Assert.That(usage.TotalTokenCount, Is.EqualTo(usage.InputTokenCount + usage.OutputTokenCount));
        Assert.That(usage.CachedInputTokenCount, Is.Positive, "the prompt was asked before");
    }

    [Test]
    public async Task Streams_what_it_answers()
    {
        ChatResponse whole = await _client.GetResponseAsync("Who are you?", s_greedy);
        List<ChatResponseUpdate> updates = await _client.GetStreamingResponseAsync("Who are you?", s_greedy).ToListAsync();
        Assert.That(updates, Has.Count.GreaterThan(3));
        Assert.That(updates.Select(u => u.ResponseId).Distinct().Count(), Is.EqualTo(1));
        Assert.That(updates.Select(u => u.MessageId).Distinct().Single(), Is.Not.Null);
        Assert.That(updates.SkipLast(1).Select(u => u.FinishReason), Is.All.Null);
        Assert.That(updates[^1].FinishReason, Is.EqualTo(ChatFinishReason.Stop));
        Assert.That(updates[^1].Contents.OfType<UsageContent>().Single().Details.OutputTokenCount, Is.EqualTo(whole.Usage!.OutputTokenCount));
        ChatResponse joined = updates.ToChatResponse();
        Assert.That(joined.Messages.Single().Contents.Select(Describe), Is.EqualTo(whole.Messages.Single().Contents.Select(Describe)));
        Assert.That((joined.Usage!.InputTokenCount, joined.ModelId, joined.FinishReason), Is.EqualTo((whole.Usage.InputTokenCount, whole.ModelId, whole.FinishReason)));
    }

    [TestCase(false)]
    [TestCase(true)]
    public async Task A_whole_tool_loop_runs_through_the_ecosystems_middleware(bool streamed)
    {
        var asked = new List<string>();
        AIFunction weather = AIFunctionFactory.Create(
            ([Description("City name")] string city) =>
            {
                asked.Add(city);
                return new { city, temperature = 12, condition = "sunny" };
            },
            "get_weather",
            "Get the current weather for a city.");
        using IChatClient client = _client.AsBuilder().UseFunctionInvocation().Build();
        ChatMessage[] question = [new(ChatRole.User, "What is the weather in Oslo?")];
        var options = new ChatOptions { Temperature = 0, Tools = [weather] };
        ChatResponse response = streamed ? await client.GetStreamingResponseAsync(question, options).ToChatResponseAsync() : await client.GetResponseAsync(question, options);
        Assert.That(asked, Is.EqualTo(new[] { "Oslo" }));
        Assert.That(response.Messages.Select(m => m.Role), Is.EqualTo(new[] { ChatRole.Assistant, ChatRole.Tool, ChatRole.Assistant }));
        FunctionCallContent call = response.Messages[0].Contents.OfType<FunctionCallContent>().Single();
        Assert.That((call.Name, call.CallId), Is.EqualTo(("get_weather", "functions.get_weather:0")));
        Assert.That(response.Text, Does.Contain("12").And.Contains("Oslo"));
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.Stop));
    }

    /// <summary>One of many tools of an MCP server, for example, whose schema is nobody's fault here.</summary>
    [Test]
    public async Task A_tool_whose_schema_cannot_be_enforced_keeps_no_call_from_its_answer()
    {
        AITool tool = AIFunctionFactory.CreateDeclaration("tag", "Tags a page.", JsonElement.Parse("""{"type":"object","properties":{"tags":{"type":"array","uniqueItems":true}}}"""));
        var options = new ChatOptions { Temperature = 0, Tools = [tool] };
        Assert.That((await _client.GetResponseAsync("What is the capital of France?", options)).Text, Does.Contain("Paris"));
        options.AdditionalProperties = new() { ["allow_unenforceable_tools"] = false };
        Assert.That(async () => await _client.GetResponseAsync("What is the capital of France?", options), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("uniqueItems"));
        options.AdditionalProperties = null;
        options.RawRepresentationFactory = _ => new GenerationOptions();
        Assert.That(async () => await _client.GetResponseAsync("What is the capital of France?", options), Throws.TypeOf<KimiConstraintException>());
    }

    [Test]
    public async Task A_prompt_is_counted_before_it_is_sent([Values] bool reasons)
    {
        var options = new ChatOptions
        {
            Instructions = "Be brief.",
            Tools = [AIFunctionFactory.Create((string city) => "", "get_weather", "Get the current weather for a city.")],
            Reasoning = new() { Effort = reasons ? null : ReasoningEffort.None },
            MaxOutputTokens = 1,
        };
        ChatMessage[] messages =
        [
            new(ChatRole.User, "What is the weather in Oslo?"),
            new(ChatRole.Assistant, [new FunctionCallContent("call_1", "get_weather", new Dictionary<string, object?> { ["city"] = "Oslo" })]),
            new(ChatRole.Tool, [new FunctionResultContent("call_1", "12 degrees")]),
        ];
        int counted = await _client.CountPromptTokensAsync(messages, options);
        ChatResponse response = await _client.GetResponseAsync(messages, options);
        Assert.That(counted, Is.EqualTo(response.Usage!.InputTokenCount));
        Assert.That(await _client.CountPromptTokensAsync(messages), Is.LessThan(counted));
        Assert.That(async () => await _client.CountPromptTokensAsync([]), Throws.ArgumentException);
        Assert.That(async () => await _client.CountPromptTokensAsync(messages, options, new CancellationToken(canceled: true)), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public async Task Answers_are_held_to_formats_and_types()
    {
        var options = new ChatOptions { Temperature = 0, Reasoning = new() { Effort = ReasoningEffort.None } };
        ChatResponse<Capital> typed = await _client.GetResponseAsync<Capital>("What is the capital of Italy? Answer as JSON.", options);
        Assert.That(typed.Result.City, Is.Not.Empty);
        options.ResponseFormat = ChatResponseFormat.Json;
        options.MaxOutputTokens = 100;
        ChatResponse any = await _client.GetResponseAsync("Give me a JSON object with the city Rome.", options);
        Assert.That(JsonElement.Parse(any.Text).ValueKind, Is.EqualTo(JsonValueKind.Object));
    }

    [Test]
    public async Task Tools_are_required_forbidden_and_counted()
    {
        AITool[] tools =
        [
            AIFunctionFactory.Create((string city) => "", "get_weather", "Get the current weather for a city."),
            AIFunctionFactory.Create((string city) => "", "get_time", "Get the current time in a city."),
        ];
        async Task<ChatResponse> Ask(string question, ChatToolMode? mode, bool? several = null) =>
            await _client.GetResponseAsync(question, new ChatOptions { Temperature = 0, Tools = tools, ToolMode = mode, AllowMultipleToolCalls = several, MaxOutputTokens = 200 });
        Assert.That(Calls(await Ask("What is the capital of France?", ChatToolMode.RequireAny)), Is.Not.Empty);
        Assert.That(Calls(await Ask("What is the weather in Oslo?", ChatToolMode.RequireSpecific("get_time"))), Is.EqualTo(new[] { "get_time" }));
        Assert.That(Calls(await Ask("What is the weather in Oslo?", ChatToolMode.None)), Is.Empty);
        Assert.That(async () => await Ask("?", ChatToolMode.RequireSpecific("other")), Throws.ArgumentException.With.Message.Contains("other"));

        const string Both = "What is the weather in Oslo and in Rome?";
        Assert.That(Calls(await Ask(Both, null)).Count(), Is.EqualTo(2), "the model calls twice where it may");
        ChatResponse single = await Ask(Both, null, several: false);
        Assert.That(Calls(single), Is.EqualTo(new[] { "get_weather" }));
        Assert.That(single.FinishReason, Is.EqualTo(ChatFinishReason.ToolCalls));
        Assert.That($"{single.Messages[0].Contents.OfType<FunctionCallContent>().Single().Arguments!["city"]}", Is.EqualTo("Oslo"));
    }

    [Test]
    public async Task A_call_that_was_cut_off_is_not_handed_out()
    {
        AITool tool = AIFunctionFactory.Create((string city) => "", "get_weather", "Get the current weather for a city.");
        var options = new ChatOptions { Temperature = 0, Tools = [tool], ToolMode = ChatToolMode.RequireAny, Reasoning = new() { Effort = ReasoningEffort.None } };
        int whole = (int)(await _client.GetResponseAsync("What is the weather in Oslo?", options)).Usage!.OutputTokenCount!;

        // Without the ends of the turn, the section and the call, and the arguments' last token.
        options.MaxOutputTokens = whole - 4;
        ChatResponse response = await _client.GetResponseAsync("What is the weather in Oslo?", options);
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.Length));
        Assert.That(Calls(response), Is.Empty);
        Assert.That(((GenerationResult)response.RawRepresentation!).IncompleteToolCall, Is.Not.Null);
        List<ChatResponseUpdate> updates = await _client.GetStreamingResponseAsync("What is the weather in Oslo?", options).ToListAsync();
        Assert.That(updates.SelectMany(u => u.Contents).OfType<FunctionCallContent>(), Is.Empty);
    }

    [Test]
    public async Task The_call_and_its_result_are_found_in_the_cache_again()
    {
        AIFunction time = AIFunctionFactory.Create((string city) => "15:09", "get_time", "Get the current time in a city.");
        var options = new ChatOptions { Temperature = 0, Tools = [time], Reasoning = new ReasoningOptions { Effort = ReasoningEffort.None } };
        List<ChatMessage> messages = [new(ChatRole.User, "What time is it in Rome?")];
        ChatResponse call = await _client.GetResponseAsync(messages, options);
        messages.AddMessages(call);
        messages.Add(new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.Messages[0].Contents.OfType<FunctionCallContent>().Single().CallId, "15:09")]));
        ChatResponse answer = await _client.GetResponseAsync(messages, options);
        Assert.That(answer.Text, Does.Contain("15:09"));

        // The question, the call and its arguments as the model wrote them; not the token that ended the turn.
        Assert.That(answer.Usage!.CachedInputTokenCount, Is.EqualTo(call.Usage!.TotalTokenCount - 1));
    }

    /// <summary>What a caller does not want to see the model has to see again between its calls.</summary>
    [TestCase("Oslo", false)]
    [TestCase("Rome", true)]
    public async Task Reasoning_that_is_hidden_is_found_in_the_cache_again(string city, bool streamed)
    {
        AIFunction weather = AIFunctionFactory.Create((string city) => "", "get_weather", "Get the current weather for a city.");
        var options = new ChatOptions { Temperature = 0, Tools = [weather], Reasoning = new ReasoningOptions { Output = ReasoningOutput.None } };
        List<ChatMessage> messages = [new(ChatRole.User, $"What is the weather in {city}?")];
        ChatResponse call = streamed ? await _client.GetStreamingResponseAsync(messages, options).ToChatResponseAsync() : await _client.GetResponseAsync(messages, options);
        Assert.That(call.Usage!.ReasoningTokenCount, Is.Positive);
        Assert.That(call.Messages.Single().Contents.OfType<TextReasoningContent>().Select(r => r.Text), Is.EqualTo(new[] { "" }), "in one piece and without text");
        messages.AddMessages(call);
        messages.Add(new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.Messages[0].Contents.OfType<FunctionCallContent>().Single().CallId, "12 degrees")]));
        ChatResponse answer = await _client.GetResponseAsync(messages, options);
        Assert.That(answer.Usage!.CachedInputTokenCount, Is.EqualTo(call.Usage.TotalTokenCount - 1));
    }

    /// <summary>The middleware keeps the reasoning in one message and puts the call that the user has approved into another.</summary>
    [TestCase("Madrid", false)]
    [TestCase("Lisbon", true)]
    public async Task A_call_that_was_approved_is_found_in_the_cache_again(string city, bool streamed)
    {
        AIFunction weather = AIFunctionFactory.Create((string city) => "12 degrees", "get_weather", "Get the current weather for a city.");
        using IChatClient client = _client.AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Temperature = 0, Tools = [new ApprovalRequiredAIFunction(weather)] };
        List<ChatMessage> messages = [new(ChatRole.User, $"What is the weather in {city}?")];
        ChatResponse asked = streamed ? await client.GetStreamingResponseAsync(messages, options).ToChatResponseAsync() : await client.GetResponseAsync(messages, options);
        Assert.That(asked.Usage!.ReasoningTokenCount, Is.Positive);
        messages.AddMessages(asked);
        ToolApprovalRequestContent request = asked.Messages.SelectMany(m => m.Contents).OfType<ToolApprovalRequestContent>().Single();
        messages.Add(new ChatMessage(ChatRole.User, [request.CreateResponse(approved: true)]));
        ChatResponse answer = streamed ? await client.GetStreamingResponseAsync(messages, options).ToChatResponseAsync() : await client.GetResponseAsync(messages, options);
        Assert.That(answer.Text, Does.Contain("12"));
        Assert.That(answer.Usage!.CachedInputTokenCount, Is.EqualTo(asked.Usage.TotalTokenCount - 1));
    }

    [Test]
    public async Task An_image_that_a_function_returns_does_not_end_its_loop()
    {
        AIFunction weather = AIFunctionFactory.Create(
            AIContent[] (string city) => [new TextContent("12 degrees"), new DataContent(new byte[] { 1 }, "image/png")], "get_weather", "Get the current weather for a city.");
        using IChatClient client = _client.AsBuilder().UseFunctionInvocation().Build();
        ChatResponse response = await client.GetResponseAsync("What is the weather in Berlin?", new ChatOptions { Temperature = 0, Tools = [weather] });
        Assert.That(response.Messages.Select(m => m.Role), Is.EqualTo(new[] { ChatRole.Assistant, ChatRole.Tool, ChatRole.Assistant }));
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.Stop));
    }

    [Test]
    public async Task Reasoning_is_left_out_cut_short_or_switched_off()
    {
        async Task<ChatResponse> Ask(ReasoningOptions reasoning) =>
            await _client.GetResponseAsync("What is 23 + 45?", new ChatOptions { Temperature = 0, Reasoning = reasoning });
        ChatResponse full = await Ask(new() { Output = ReasoningOutput.Full, Effort = ReasoningEffort.High });
        Assert.That(full.Messages[0].Contents[0], Is.TypeOf<TextReasoningContent>());
        ChatResponse hidden = await Ask(new() { Output = ReasoningOutput.None });
        Assert.That(hidden.Messages[0].Contents.OfType<TextReasoningContent>().Select(r => r.Text), Is.All.Empty);
        Assert.That(hidden.Messages[0].Contents.Last(), Is.TypeOf<TextContent>());
        Assert.That((hidden.Text, hidden.Usage!.ReasoningTokenCount), Is.EqualTo((full.Text, full.Usage!.ReasoningTokenCount)));
        ChatResponse none = await Ask(new() { Effort = ReasoningEffort.None });
        Assert.That(none.Usage!.ReasoningTokenCount, Is.Zero);
        Assert.That(none.Messages[0].Contents.Single(), Is.TypeOf<TextContent>());
    }

    [Test]
    public async Task Cancellation_ends_the_call_and_leaves_the_client_usable()
    {
        using var source = new CancellationTokenSource();
        var endless = new ChatOptions { RawRepresentationFactory = _ => new GenerationOptions { IgnoreEndOfText = true } };
        IAsyncEnumerable<ChatResponseUpdate> updates = _client.GetStreamingResponseAsync("Tell me a story.", endless, source.Token);
        Assert.That(
            async () =>
            {
                await foreach (ChatResponseUpdate _ in updates)
                {
                    await source.CancelAsync();
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        using var soon = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        Assert.That(async () => await _client.GetResponseAsync("Tell me a story.", endless, soon.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That((await _client.GetResponseAsync("What is the capital of France?", s_greedy)).Text, Does.Contain("Paris"));
    }

    [Test]
    public async Task Calls_at_the_same_time_answer_as_alone()
    {
        string[] questions = ["What is the capital of France?", "Who are you?", "What is 12 + 30?", "What is the capital of Japan?"];
        var alone = new List<string>();
        foreach (string question in questions)
        {
            alone.Add((await _client.GetResponseAsync(question, s_greedy)).Text);
        }

        ChatResponse[] together = await Task.WhenAll(Enumerable.Range(0, 16).Select(i => Task.Run(() => _client.GetResponseAsync(questions[i % 4], s_greedy))));
        Assert.That(together.Select(r => r.Text), Is.EqualTo(Enumerable.Range(0, 16).Select(i => alone[i % 4])));
        Assert.That(together.Select(r => r.ResponseId).Distinct().Count(), Is.EqualTo(16));
    }

    [Test]
    public void Services_are_what_is_behind_the_client()
    {
        Assert.That(_client.GetService<IKimiModel>(), Is.SameAs(_model));
        Assert.That(_client.GetService<KimiModel>(), Is.SameAs(_model));
        Assert.That(_client.GetService<KimiTokenizer>(), Is.SameAs(_model.Tokenizer));
        Assert.That(_client.GetService<KimiModelInfo>(), Is.SameAs(_model.Info));
        Assert.That(_client.GetService<IChatClient>(), Is.SameAs(_client));
        ChatClientMetadata metadata = _client.GetService<ChatClientMetadata>()!;
        Assert.That((metadata.ProviderName, metadata.DefaultModelId, metadata.ProviderUri), Is.EqualTo(("kimicpu", "kimi-nano", (Uri?)null)));
        Assert.That(_client.GetService<IEmbeddingGenerator<string, Embedding<float>>>(), Is.Null);
        Assert.That(_client.GetService(typeof(IKimiModel), "key"), Is.Null);
    }

    [Test]
    public async Task Dispose_ends_the_model_only_where_the_client_owns_it()
    {
        KimiModel model = KimiModel.OpenEmbedded();
        model.AsIChatClient().Dispose();
        KimiChatClient owner = model.AsIChatClient(ownsModel: true);
        Assert.That((await owner.GetResponseAsync("Who are you?", s_greedy)).Text, Is.Not.Empty);
        owner.Dispose();
        owner.Dispose();
        Assert.That(() => model.Generate("Who are you?"), Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(async () => await owner.GetResponseAsync("Who are you?"), Throws.InstanceOf<ObjectDisposedException>());
    }

    private static IEnumerable<string> Calls(ChatResponse response) => response.Messages[0].Contents.OfType<FunctionCallContent>().Select(c => c.Name);

    private static (Type Kind, string Text) Describe(AIContent content) => (content.GetType(), content switch
    {
        TextReasoningContent reasoning => reasoning.Text,
        TextContent text => text.Text,
        _ => "",
    });

    private sealed record Capital(string City);
}
