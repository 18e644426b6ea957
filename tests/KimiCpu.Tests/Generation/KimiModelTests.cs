// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Compute;
using KimiCpu.Generation;
using Microsoft.Extensions.Logging;
using NUnit.Framework.Constraints;

namespace KimiCpu.Tests.Generation;

/// <summary>The public face on the embedded model.</summary>
[TestFixture]
internal sealed class KimiModelTests
{
    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 60 };

    private static readonly string[] s_prompts =
    [
        "What is the capital of France?", "Who are you?", "What is 7 + 8?", "Tell me a story.", "What is the opposite of hot?", "你好", "Count to five.", "What is 12 + 30?",
    ];

    private KimiModel _model = null!;

    [OneTimeSetUp]
    public void Open() => _model = KimiModel.OpenEmbedded();

    [OneTimeTearDown]
    public void Close()
    {
        Assert.That(() => _model.CachePages.Free, Is.EqualTo(_model.CachePages.Capacity).After(60_000, 5), "pages leaked");
        _model.Dispose();
    }

    [Test]
    public void Answers_and_reasons()
    {
        GenerationResult result = _model.Generate("What is the capital of France?", s_greedy);
        Assert.That(result.Text, Is.EqualTo("The capital of France is Paris."));
        Assert.That(result.Reasoning, Does.Contain("Paris"));
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Stop));
        Assert.That(result.Usage.CompletionTokens, Is.EqualTo(result.Tokens.Count));
        Assert.That(result.Usage.ReasoningTokens, Is.InRange(1, result.Tokens.Count - 1));
        Assert.That(result.Timings.DecodeTokensPerSecond, Is.Positive);
        GenerationResult direct = _model.Generate("What is the capital of France?", s_greedy with { Thinking = false });
        Assert.That(direct.Reasoning, Is.Null);
        Assert.That(direct.Text, Does.Contain("Paris"));
    }

    [Test]
    public async Task Streamed_updates_add_up_to_the_result()
    {
        foreach (string prompt in s_prompts)
        {
            (string text, string reasoning) = ("", "");
            var tokens = new List<int>();
            GenerationResult? result = null;
            await foreach (GenerationUpdate update in _model.GenerateAsync(prompt, s_greedy))
            {
                Assert.That(result, Is.Null, "nothing follows the result");
                text += update.Text;
                reasoning += update.Reasoning;
                tokens.AddRange(update.Tokens);
                result = update.Result;
            }

            Assert.That((result!.Text, result.Reasoning), Is.EqualTo((text, reasoning)));
            Assert.That(result.Tokens, Is.EqualTo(tokens));
            Assert.That(result.Text, Is.EqualTo(_model.Generate(prompt, s_greedy).Text));
        }
    }

    [Test]
    public void Concurrent_calls_get_the_text_they_get_alone()
    {
        GenerationOptions[] options = [s_greedy, new() { Temperature = 0.9f, TopP = 0.9f, Seed = 11, MaxTokens = 50 }];
        foreach (GenerationOptions option in options)
        {
            string[] alone = [.. s_prompts.Select(p => _model.Generate(p, option).Text)];
            var together = new string[s_prompts.Length];
            Parallel.For(0, s_prompts.Length, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i => together[i] = _model.Generate(s_prompts[i], option).Text);
            Assert.That(together, Is.EqualTo(alone));
        }
    }

    /// <summary>Also what was computed before a slow reader cancels; and who filters by its token finds it.</summary>
    [Test]
    public async Task A_stream_shows_nothing_after_it_was_cancelled_and_names_the_token([Values] bool byEnumerator)
    {
        using var source = new CancellationTokenSource();
        GenerationOptions endless = s_greedy with { IgnoreEndOfText = true, MaxTokens = 4000 };
        IAsyncEnumerable<GenerationUpdate> stream = _model.GenerateAsync("Tell me a story.", endless, byEnumerator ? default : source.Token);
        int after = 0;
        OperationCanceledException? exception = await Assert.CatchAsync<OperationCanceledException>(async () =>
        {
            await foreach (GenerationUpdate update in stream.WithCancellation(byEnumerator ? source.Token : default))
            {
                after += source.IsCancellationRequested ? 1 : 0;
                await Task.Delay(source.IsCancellationRequested ? 0 : 300);
                await source.CancelAsync();
            }
        });
        Assert.That((after, exception!.CancellationToken), Is.EqualTo((0, source.Token)));
    }

    [Test]
    public async Task Cancellation_is_honoured_and_leaves_nothing_behind()
    {
        using var source = new CancellationTokenSource();
        int seen = 0;
        Assert.That(
            async () =>
            {
                await foreach (GenerationUpdate update in _model.GenerateAsync("Tell me a story.", s_greedy with { IgnoreEndOfText = true, MaxTokens = 5000 }, source.Token))
                {
                    if (++seen == 3)
                    {
                        await source.CancelAsync();
                    }
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(seen, Is.LessThan(1000));
        using var before = new CancellationTokenSource();
        await before.CancelAsync();
        Assert.That(() => _model.Generate("hi", s_greedy, before.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(_model.Generate("Who are you?", s_greedy).Text, Is.Not.Empty);
    }

    [Test]
    public async Task A_consumer_that_leaves_early_stops_the_work()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        await foreach (GenerationUpdate update in model.GenerateAsync("Tell me a story.", s_greedy with { IgnoreEndOfText = true, MaxTokens = null }))
        {
            break;
        }

        // The next call is admitted and answered; afterwards all pages are free.
        Assert.That(model.Generate("Who are you?", s_greedy).Text, Is.Not.Empty);
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 20));
    }

    [Test]
    public void Disposal_during_calls_ends_them_and_later_calls_are_refused()
    {
        KimiModel model = KimiModel.OpenEmbedded();
        Task[] calls = [.. Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(
            () => model.Generate("Tell me a story.", s_greedy with { IgnoreEndOfText = true, MaxTokens = 8000 }), TaskCreationOptions.LongRunning))];
        Thread.Sleep(200);
        KimiSession session = model.CreateSession();
        model.Dispose();
        model.Dispose();
        foreach (Task call in calls)
        {
            Assert.That(async () => await call, Refused());
        }

        Assert.That(() => model.Generate("hi"), Refused());
        Assert.That(() => model.GenerateAsync("hi"), Refused());
        Assert.That(() => model.MeasureMemoryBandwidth(), Refused());
        Assert.That(() => session.Save("never-written"), Refused());

        static IResolveConstraint Refused() => Throws.TypeOf<ObjectDisposedException>().With.Property(nameof(ObjectDisposedException.ObjectName)).EqualTo("KimiCpu.KimiModel");
    }

    [Test]
    public async Task A_tool_is_called_and_its_result_answered()
    {
        var options = s_greedy with { Tools = [new KimiTool("get_weather", "Returns the weather in a city.", """{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}""")] };
        KimiMessage question = KimiMessage.User("What is the weather in Oslo?");
        var pieces = new List<ToolCallPiece>();
        GenerationResult? called = null;
        await foreach (GenerationUpdate update in _model.GenerateAsync([question], options))
        {
            pieces.AddRange(update.ToolCalls);
            called = update.Result;
        }

        KimiToolCall call = called!.ToolCalls.Single();
        Assert.That((call.Id, call.Name, call.Arguments), Is.EqualTo(("functions.get_weather:0", "get_weather", "{\"city\": \"Oslo\"}")));
        Assert.That(called.FinishReason, Is.EqualTo(FinishReason.ToolCalls));
        Assert.That(pieces[0], Is.EqualTo(new ToolCallBegun(0, call.Id, call.Name)));
        Assert.That(string.Concat(pieces.OfType<ToolCallArguments>().Select(p => p.Text)), Is.EqualTo(call.Arguments));
        Assert.That(pieces.OfType<ToolCallArguments>().Count(), Is.GreaterThan(1), "arguments stream");
        Assert.That(pieces[^1], Is.EqualTo(new ToolCallEnded(0, call, IsComplete: true)));
        GenerationResult answer = _model.Generate([question, called.ToMessage(), KimiMessage.Tool(call.Id, "7°C, cloudy")], options);
        Assert.That(answer.Text, Does.Contain("7 degrees").And.Contain("Oslo"));
        Assert.That(answer.FinishReason, Is.EqualTo(FinishReason.Stop));
        Assert.That(() => _model.Generate(new[] { 1, 2 }.AsMemory(), options), Throws.ArgumentException.With.Message.Contains("messages"));
        Assert.That(() => _model.Generate([KimiMessage.Tool("", "x")], options), Throws.ArgumentException);
    }

    [Test]
    public void Reasoning_keeps_to_its_budget()
    {
        int free = _model.Generate("What is 7 + 8?", s_greedy).Usage.ReasoningTokens;
        foreach (int budget in new[] { 0, 2, free - 1 })
        {
            GenerationResult result = _model.Generate("What is 7 + 8?", s_greedy with { MaxReasoningTokens = budget });
            Assert.That(result.Usage.ReasoningTokens, Is.EqualTo(budget + 1), "and the token that closes it");
            Assert.That(result.Text, Is.Not.Empty);
            Assert.That(_model.Tokenizer.Decode([result.Tokens[budget]]), Is.EqualTo("</think>"));
        }
    }

    [Test]
    public void A_folder_without_a_known_template_is_told_to_the_log()
    {
        using var log = new RecordingLog();
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"), new KimiModelOptions { LoggerFactory = log });
        Assert.That(log.Lines.Count(l => l.Event == 4), Is.EqualTo(1), "who opens it looks at the log, not who chats");
        model.Generate("hi", s_greedy with { MaxTokens = 1 });
        model.Generate("hi", s_greedy with { MaxTokens = 1 });
        Assert.That(log.Lines.Single(l => l.Event == 4).Text, Does.Contain("chat_template.jinja does not exist"));
    }

    [Test]
    public void Limits_end_answers_and_are_reported()
    {
        GenerationResult result = _model.Generate("Tell me a story.", s_greedy with { MaxTokens = 5 });
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Length));
        Assert.That(result.Tokens, Has.Count.EqualTo(5));
        GenerationResult stopped = _model.Generate("What is the capital of France?", s_greedy with { StopSequences = ["France"] });
        Assert.That(stopped.Text, Is.EqualTo("The capital of "));
        Assert.That(stopped.FinishReason, Is.EqualTo(FinishReason.Stop));
        using KimiModel small = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 40 });
        GenerationResult full = small.Generate("Tell me a story.", s_greedy with { MaxTokens = null, IgnoreEndOfText = true });
        Assert.That(full.Usage.PromptTokens + full.Usage.CompletionTokens, Is.EqualTo(40));
        Assert.That(full.FinishReason, Is.EqualTo(FinishReason.Length));
    }

    [Test]
    public void What_cannot_fit_is_refused_with_numbers()
    {
        using KimiModel small = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 100 });
        Assert.That(() => small.Generate(new string('x', 500)), Throws.TypeOf<ContextLengthException>().With.Message.Contains("100")
            .And.Property(nameof(ContextLengthException.AvailableTokens)).EqualTo(100).And.Property(nameof(ContextLengthException.NeededTokens)).GreaterThan(100));
        ContextLengthException refused = Assert.Throws<ContextLengthException>(() => small.Generate("hi", s_greedy with { MaxTokens = 99 }))!;
        Assert.That((refused.NeededTokens - refused.PromptTokens, refused.AvailableTokens), Is.EqualTo((99, 100)));
        Assert.That(refused.Message, Does.EndWith(refused.MoreRoom!).And.Contains("(MaxTokens)"));
        Assert.That(() => small.GenerateAsync("hi", s_greedy with { MaxTokens = 99 }), Throws.TypeOf<ContextLengthException>(), "before anything starts");
        int[] prompt = [.. Enumerable.Repeat(7, 99)];
        GenerationResult last = small.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = null, IgnoreEndOfText = true });
        Assert.That((last.Tokens.Count, last.FinishReason), Is.EqualTo((1, FinishReason.Length)));
        Assert.That(() => small.Generate(new int[100].AsMemory(), s_greedy with { MaxTokens = null }), Throws.TypeOf<ContextLengthException>().With.Property(nameof(ContextLengthException.NeededTokens)).EqualTo(101));
        Assert.That(small.Generate("hi", s_greedy with { MaxTokens = 3 }).Tokens, Is.Not.Empty);
    }

    [Test]
    public void Calls_that_need_more_pages_than_there_are_wait_or_pause_and_get_the_answers_they_get_alone()
    {
        long page = 64L * 6 * 80 * 2;
        using KimiModel tight = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 4 * page });
        Assert.That(tight.Info.ContextLength, Is.EqualTo(256));

        // Each call needs three pages in the end, so that two of them must take turns.
        var longer = s_greedy with { IgnoreEndOfText = true, MaxTokens = 150, LogProbabilities = true };
        string[] questions = ["Who are you?", "What is 7 + 8?", "Who are you?", "What is the capital of France?", "Count to five.", "Tell me a story."];
        GenerationResult[] alone = [.. questions.Select(q => tight.Generate(q, longer))];
        var results = new GenerationResult[questions.Length];
        Parallel.For(0, results.Length, new ParallelOptions { MaxDegreeOfParallelism = results.Length }, i => results[i] = tight.Generate(questions[i], longer));
        for (int i = 0; i < results.Length; i++)
        {
            Assert.That(results[i].Tokens, Is.EqualTo(alone[i].Tokens));
            Assert.That(results[i].LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(alone[i].LogProbabilities.Select(l => l.LogProbability)), "to the bit");
        }

        Assert.That(() => tight.CachePages.Free, Is.EqualTo(4).After(60_000, 10));
    }

    [Test]
    public void Options_outside_their_ranges_are_named()
    {
        GenerationOptions[] wrong =
        [
            new() { Temperature = -1 }, new() { Temperature = float.NaN }, new() { TopK = -1 }, new() { TopP = 0 }, new() { TopP = 1.1f }, new() { MinP = 1 },
            new() { RepetitionPenalty = 0 }, new() { PresencePenalty = 3 }, new() { FrequencyPenalty = float.NaN }, new() { MaxTokens = 0 }, new() { LogProbabilities = true, TopLogProbabilities = 21 }, new() { TopLogProbabilities = 3 }, new() { MaxReasoningTokens = -1 },
            new() { StopSequences = [""] }, new() { StopSequences = ["\uDE00"] }, new() { StopSequences = ["a\uD83D"] }, new() { StopSequences = ["\uDE00x"] }, new() { StopTokens = [-1] }, new() { StopTokens = [2304] }, new() { LogitBias = new Dictionary<int, float> { [0] = float.NaN } },
        ];
        foreach (GenerationOptions options in wrong)
        {
            Assert.That(() => _model.Generate("hi", options), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("takes"), options.ToString());
            Assert.That(() => _model.GenerateAsync("hi", options), Throws.TypeOf<ArgumentOutOfRangeException>());
        }

        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { Threads = 0 }), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { PrefillChunk = 0 }), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => _model.Generate(new int[] { 2304 }.AsMemory()), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => _model.Generate(ReadOnlyMemory<int>.Empty), Throws.ArgumentException);
        Assert.That(() => _model.Generate(Array.Empty<KimiMessage>()), Throws.ArgumentException);
    }

    /// <summary>A text may be of any length, as where a log is given by mistake.</summary>
    [Test]
    public void Nobody_encodes_the_prompt_of_a_call_that_is_cancelled()
    {
        string text = string.Concat(Enumerable.Repeat("word ", 1_000_000));
        using var source = new CancellationTokenSource();
        source.Cancel();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => _model.Generate(text, s_greedy, source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => _model.GenerateAsync(text, s_greedy, source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => _model.EncodePrompt([KimiMessage.User(text)], s_greedy, source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
    }

    [Test]
    public void Log_probabilities_come_with_every_token()
    {
        GenerationResult result = _model.Generate("What is 7 + 8?", s_greedy with { LogProbabilities = true, TopLogProbabilities = 3 });
        Assert.That(result.LogProbabilities.Select(l => l.Token), Is.EqualTo(result.Tokens));
        foreach (TokenLogProbability item in result.LogProbabilities)
        {
            Assert.That(item.LogProbability, Is.LessThanOrEqualTo(0));
            Assert.That(item.Top, Has.Count.EqualTo(3));
            Assert.That(item.Top[0].Token, Is.EqualTo(item.Token), "greedy takes the most likely one");
        }
    }

    [Test]
    public void Prompt_chunks_do_not_change_the_answer()
    {
        using KimiModel chunked = KimiModel.OpenEmbedded(new KimiModelOptions { PrefillChunk = 3, Threads = 3 });
        Assert.That(chunked.Generate(s_prompts[0], s_greedy).Tokens, Is.EqualTo(_model.Generate(s_prompts[0], s_greedy).Tokens));
    }

    [Test]
    public void Conversations_remember()
    {
        GenerationResult result = _model.Generate(
            [KimiMessage.User("My name is Anna."), KimiMessage.Assistant("Nice to meet you, Anna."), KimiMessage.User("What is my name?")], s_greedy);
        Assert.That(result.Text, Does.Contain("Anna"));
    }

    [Test]
    public void Raw_tokens_continue_without_a_template()
    {
        GenerationResult result = _model.Generate(_model.Tokenizer.Encode("ROMEO:\n").AsMemory(), s_greedy with { MaxTokens = 20 });
        Assert.That(result.Usage.PromptTokens, Is.EqualTo(_model.Tokenizer.Encode("ROMEO:\n").Length));
        Assert.That(result.Reasoning, Is.Null);
        Assert.That(result.Text, Is.Not.Empty);
    }

    [Test]
    public async Task Opening_reports_progress_and_can_be_cancelled()
    {
        var phases = new System.Collections.Concurrent.ConcurrentBag<LoadProgress>();
        using (KimiModel model = await KimiModel.OpenAsync(Repository.NanoModel, new KimiModelOptions { Progress = new Immediate(phases.Add) }))
        {
            Assert.That(model.Info.Name, Is.EqualTo("kimi-nano"));
        }

        Assert.That(phases.Select(p => p.Phase).Distinct(), Is.EquivalentTo(new[] { "shards", "weights" }));
        using var source = new CancellationTokenSource();
        Assert.That(
            async () => await KimiModel.OpenAsync(Repository.NanoModel, new KimiModelOptions { Progress = new Immediate(_ => source.Cancel()) }, source.Token),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => KimiModel.Open("/does/not/exist"), Throws.TypeOf<CheckpointException>());
    }

    [Test]
    public async Task A_slow_reader_holds_nobody_up_and_loses_nothing()
    {
        await using IAsyncEnumerator<GenerationUpdate> slow = _model.GenerateAsync("Tell me a story.", s_greedy).GetAsyncEnumerator();
        Assert.That(await slow.MoveNextAsync());
        string text = slow.Current.Text;
        Assert.That(_model.Generate("Who are you?", s_greedy).Text, Is.Not.Empty);
        GenerationResult? result = null;
        while (await slow.MoveNextAsync())
        {
            text += slow.Current.Text;
            result = slow.Current.Result;
        }

        Assert.That(text, Is.EqualTo(result!.Text));
        Assert.That(result.Text, Is.EqualTo(_model.Generate("Tell me a story.", s_greedy).Text));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Calls_that_come_and_go_at_random_leave_the_model_sound(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 30L * 64 * 6 * 80 * 2, PrefillChunk = 24 });
        string expected = model.Generate("Who are you?", s_greedy, cancellationToken).Text;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            for (int call = 0; call < 25; call++)
            {
                using var source = new CancellationTokenSource();
                int leaveAfter = random.Next(1, 60);
                int seen = 0;
                try
                {
                    await foreach (GenerationUpdate update in model.GenerateAsync(s_prompts[random.Next(s_prompts.Length)], s_greedy, source.Token))
                    {
                        if (++seen == leaveAfter)
                        {
                            if (call % 2 == 0)
                            {
                                break;
                            }

                            await source.CancelAsync();
                        }
                    }
                }
                catch (OperationCanceledException)
                {
                }
            }
        }))).WaitAsync(cancellationToken);
        Assert.That(model.Generate("Who are you?", s_greedy, cancellationToken).Text, Is.EqualTo(expected));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 20));
    }

    [Test]
    public void A_logger_hears_what_was_opened_and_what_runs_where()
    {
        using var log = new RecordingLog();
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { LoggerFactory = log, ContextLength = 64, KvCacheBytes = 1 });
        model.Generate("hi", s_greedy with { MaxTokens = 2 });
        Assert.That(log.Lines.Select(l => l.Event), Is.EqualTo(new[] { 1, 2, 7, 3 }));
        Assert.That(log.Lines[1].Text, Is.EqualTo(model.Placement));
        Assert.That(log.Lines[3].Text, Does.Contain("6.9 MB read for each"));
        Assert.That(model.Placement, Does.Contain(KimiCpu.Cpu.CpuFeatures.Best.ToString()));
        using KimiModel tight = KimiModel.OpenEmbedded(new KimiModelOptions { LoggerFactory = log, KvCacheBytes = 1 });
        Assert.That(log.Lines[^1], Is.EqualTo((4, "The cache holds 64 of the 8192 tokens of the context. To have more, raise KimiModelOptions.KvCacheBytes.")));
    }

    /// <summary>A context is kept in whole pages, so its cache has to hold those.</summary>
    [Test]
    public void A_context_that_is_no_multiple_of_a_page_is_whole_where_experts_come_from_drives([Values(1000, 1024)] int context)
    {
        using var log = new RecordingLog();
        var options = new KimiModelOptions { LoggerFactory = log, ContextLength = context, ExpertMemory = 1_000_000, RememberExperts = false };
        using KimiModel model = KimiModel.Open(Repository.Checkpoint("tiny-int4"), options);
        Assert.That(model.Info.ContextLength, Is.EqualTo(context));
        Assert.That(log.Lines.Select(l => l.Text), Has.None.Contains("tokens of the context"));
    }

    private sealed class RecordingLog : ILoggerFactory, ILogger
    {
        public List<(int Event, string Text)> Lines { get; } = [];

        public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Add((eventId.Id, formatter(state, exception)));

        public void Dispose()
        {
        }
    }

    private sealed class Immediate(Action<LoadProgress> report) : IProgress<LoadProgress>
    {
        public void Report(LoadProgress value) => report(value);
    }
}
