// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Tests.Generation;

/// <summary>What listeners hear of a call.</summary>
[TestFixture]
internal sealed class TelemetryTests
{
    [Test]
    public void Meter_tells_of_tokens_times_and_rates()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var heard = new Measurements();
        GenerationResult result = model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        GenerationResult again = model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        Assert.That(heard.Sum("kimicpu.prompt.tokens", ("kimicpu.cached", false)), Is.EqualTo(result.Usage.PromptTokens + again.Usage.PromptTokens - again.Usage.CachedTokens));
        Assert.That(heard.Sum("kimicpu.prompt.tokens", ("kimicpu.cached", true)), Is.EqualTo(again.Usage.CachedTokens).And.Positive);
        Assert.That(heard.Sum("kimicpu.completion.tokens", ("kimicpu.reasoning", true)), Is.EqualTo(2 * result.Usage.ReasoningTokens));
        Assert.That(heard.Sum("kimicpu.completion.tokens", ("kimicpu.reasoning", false)), Is.EqualTo(2 * (result.Usage.CompletionTokens - result.Usage.ReasoningTokens)));
        Assert.That(heard.Values("kimicpu.decode.rate"), Is.EqualTo(new[] { result.Timings.DecodeTokensPerSecond, again.Timings.DecodeTokensPerSecond }));
        Assert.That(heard.Values("kimicpu.prefill.rate"), Is.EqualTo(new[] { result.Timings.PrefillTokensPerSecond, again.Timings.PrefillTokensPerSecond }));
        Assert.That(heard.Values("kimicpu.decode.bandwidth"), Is.EqualTo(new[] { result.Timings.DecodeBytesPerSecond / 1e9, again.Timings.DecodeBytesPerSecond / 1e9 }));
        Assert.That(heard.Values("gen_ai.server.time_to_first_token")[0], Is.EqualTo((result.Timings.Queued + result.Timings.Prefill).TotalSeconds));
        Assert.That(heard.Values("gen_ai.server.time_per_output_token")[0], Is.EqualTo(1 / result.Timings.DecodeTokensPerSecond));
        Assert.That(heard.Values("kimicpu.request.queue_time"), Has.Count.EqualTo(2));
        Assert.That(heard.Values("gen_ai.server.request.duration"), Has.Count.EqualTo(2).And.All.Positive);
        Assert.That(heard.Values("kimicpu.requests.active"), Is.EqualTo(new[] { 1, -1, 1, -1 }));
        Assert.That(heard.Units, Is.SupersetOf(new Dictionary<string, string?>
        {
            ["kimicpu.decode.rate"] = "{token}/s",
            ["kimicpu.decode.bandwidth"] = "GBy/s",
            ["gen_ai.server.time_to_first_token"] = "s",
        }));
        Assert.That(heard.Tags, Is.SupersetOf(new[] { ("gen_ai.request.model", "kimi-nano"), ("gen_ai.operation.name", "chat"), ("gen_ai.provider.name", "kimicpu") }));
    }

    /// <summary>Without them nobody sees, while a model larger than memory runs, whether it is the drive that it waits for.</summary>
    [Test]
    public async Task Where_experts_were_found_is_told_where_they_come_from_drives([Values(null, 70_000L)] long? memory)
    {
        using KimiModel model = KimiModel.Open(Path.Combine(Repository.Root, "models", "kimi-nano"), new KimiModelOptions { ExpertMemory = memory });
        using var heard = new Measurements();

        // One token a step, so that no expert is needed by two of them.
        int[] prompt = [1];
        model.Generate(prompt, new GenerationOptions { Temperature = 0, MaxTokens = 5, IgnoreEndOfText = true });
        long needed = model.CountExpertUses().Sum(layer => layer.Sum());
        Assert.That(heard.Sum("kimicpu.expert_cache.lookups"), Is.EqualTo(memory is null ? 0 : needed));
        Assert.That(heard.Count("kimicpu.drive.io", ("gen_ai.request.model", "kimi-nano")), Is.EqualTo(memory is null ? 0 : 5));
        if (memory is not null)
        {
            double[] results = [.. new[] { "hit", "late", "miss" }.Select(r => heard.Sum("kimicpu.expert_cache.lookups", ("kimicpu.expert_cache.result", r)))];
            Assert.That(results.Sum(), Is.EqualTo(needed), "each is one of the three");
            Assert.That(results[1] + results[2], Is.Positive, "there is memory for few of them");
            Assert.That(heard.Sum("kimicpu.drive.io"), Is.Positive);
            Assert.That((heard.Units["kimicpu.expert_cache.lookups"], heard.Units["kimicpu.drive.io"]), Is.EqualTo(("{expert}", "By")));
        }

        await foreach (GenerationUpdate _ in model.GenerateAsync(prompt, new GenerationOptions { IgnoreEndOfText = true }))
        {
            KimiModelActivity now = model.Activity;
            Assert.That(now.DriveBytesPerSecond > 0, Is.EqualTo(memory is not null));
            Assert.That(now.ExpertHitRate is < 1, Is.EqualTo(memory is not null), $"{now.ExpertHitRate}");
            break;
        }
    }

    [Test]
    public async Task Failures_and_streams_that_are_left_are_told_by_their_type()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var heard = new Measurements();
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        Assert.That(() => model.Generate(new int[] { 1 }, cancellationToken: cancelled.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(heard.Tags, Has.Some.EqualTo(("error.type", "System.OperationCanceledException")).Or.Some.EqualTo(("error.type", "System.Threading.Tasks.TaskCanceledException")));
        Assert.That(heard.Tags, Does.Contain(("gen_ai.operation.name", "text_completion")));
        await foreach (GenerationUpdate _ in model.GenerateAsync("Who are you?"))
        {
            break;
        }

        Assert.That(heard.Values("gen_ai.server.request.duration"), Has.Count.EqualTo(2));
        Assert.That(heard.Values("gen_ai.server.time_to_first_token"), Is.Empty);
        Assert.That(heard.Sum("kimicpu.requests.active"), Is.Zero);
    }

    [Test]
    public void Calls_that_fail_before_they_can_run_are_told_by_their_type()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 40 });
        using var heard = new Measurements();
        string prompt = new('x', 500);
        Assert.That(() => model.Generate(prompt), Throws.TypeOf<ContextLengthException>());
        Assert.That(() => model.GenerateAsync(prompt), Throws.TypeOf<ContextLengthException>());
        Assert.That(() => model.Generate(new int[40]), Throws.TypeOf<ContextLengthException>());
        Assert.That(heard.Values("gen_ai.server.request.duration"), Has.Count.EqualTo(3));
        Assert.That(heard.Tags, Is.SupersetOf(new[] { ("error.type", "KimiCpu.ContextLengthException"), ("gen_ai.operation.name", "chat"), ("gen_ai.operation.name", "text_completion") }));
        Assert.That(heard.Values("kimicpu.requests.active"), Is.EqualTo(new[] { 1, -1, 1, -1, 1, -1 }));
    }

    /// <summary>As a tool whose schema is refused, which the model finds out itself.</summary>
    [Test]
    public async Task A_response_format_that_is_refused_is_told_by_its_type()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiChatClient client = model.AsIChatClient();
        using var heard = new Measurements();
        var options = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonElement.Parse("""{"not":{"type":"string"}}""")) };
        await Assert.ThatAsync(async () => await client.GetResponseAsync("Who are you?", options), Throws.Exception);
        Assert.That(heard.Values("gen_ai.server.request.duration"), Has.Count.EqualTo(1));
        Assert.That(heard.Tags, Is.SupersetOf(new[] { ("error.type", "KimiCpu.Constraints.KimiConstraintException"), ("gen_ai.operation.name", "chat") }));
        Assert.That(heard.Values("kimicpu.requests.active"), Is.EqualTo(new[] { 1, -1 }));
    }

    /// <summary>They were computed all the same, and of a busy server that is a good part of them.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Tokens_of_calls_without_an_answer_are_counted([Values] bool cancels, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var heard = new Measurements();
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        KimiMessage[] messages = [KimiMessage.User("Tell me a story.")];
        int prompt = model.EncodePrompt(messages, cancellationToken: cancellationToken).Length;
        var options = new GenerationOptions { Temperature = 0, IgnoreEndOfText = true };
        int read = 0;
        try
        {
            await foreach (GenerationUpdate _ in model.GenerateAsync(messages, options, source.Token))
            {
                if (++read < 3)
                {
                    continue;
                }

                if (!cancels)
                {
                    break;
                }

                await source.CancelAsync();
            }
        }
        catch (OperationCanceledException) when (cancels)
        {
            // It is what was asked for.
        }

        Assert.That(read, Is.EqualTo(3));
        Assert.That(() => heard.Sum("kimicpu.completion.tokens"), Is.GreaterThanOrEqualTo(3).After(30_000, 5), "when the model has let go of it");
        Assert.That(heard.Sum("kimicpu.prompt.tokens", ("kimicpu.cached", false)), Is.EqualTo(prompt));
        Assert.That(heard.Sum("kimicpu.prompt.tokens", ("kimicpu.cached", true)), Is.Zero);
    }

    /// <summary>Of two values with the same attributes listeners keep one, and names are those of folders.</summary>
    [Test]
    public void Models_of_one_name_are_observed_together()
    {
        using var heard = new Measurements();
        double before = Pages();
        using KimiModel plain = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 640 });
        using KimiModel exact = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 1280, Exact = true });
        Assert.That(Pages() - before, Is.EqualTo(plain.Activity.CachePages + exact.Activity.CachePages).And.Positive);

        double Pages()
        {
            heard.Forget();
            heard.Observe();
            (string Key, object Value) name = ("gen_ai.request.model", "kimi-nano");
            foreach (string instrument in new[] { "kimicpu.requests.running", "kimicpu.requests.waiting" })
            {
                Assert.That(heard.Count(instrument, name), Is.LessThanOrEqualTo(1));
            }

            Assert.That(heard.Count("kimicpu.cache.pages", name), Is.Zero.Or.EqualTo(3), "used, reusable and free");
            return heard.Sum("kimicpu.cache.pages", name);
        }
    }

    /// <summary>A model that is larger than memory takes minutes for an answer, and half a minute for a step with a prompt.</summary>
    [Test]
    public void Histograms_reach_as_far_as_such_models_take()
    {
        (Histogram<double> Histogram, double Least)[] expected =
        [
            (KimiTelemetry.Duration, 3600), (KimiTelemetry.QueueTime, 3600), (KimiTelemetry.TimeToFirstToken, 3600), (KimiTelemetry.TimePerOutputToken, 10), (KimiTelemetry.StepDuration, 60),
        ];
        foreach ((Histogram<double> histogram, double least) in expected)
        {
            IReadOnlyList<double> boundaries = histogram.Advice!.HistogramBucketBoundaries!;
            Assert.That(boundaries[^1], Is.GreaterThanOrEqualTo(least), histogram.Name);
            Assert.That(boundaries, Is.Ordered.And.Unique, histogram.Name);
        }
    }

    [Test]
    public async Task What_a_call_took_to_be_prepared_is_part_of_its_times([Values] bool streamed)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var heard = new Measurements();
        var options = new GenerationOptions { MaxTokens = 3 };
        TimeSpan reading = default;
        GenerationResult result = streamed ? (await model.GenerateAsync(Slow(), options).LastAsync()).Result! : model.Generate(Slow(), options);
        Assert.That(result.Timings.Queued, Is.GreaterThanOrEqualTo(reading));
        foreach (string name in new[] { "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "kimicpu.request.queue_time" })
        {
            Assert.That(heard.Values(name).Single(), Is.GreaterThanOrEqualTo(reading.TotalSeconds), name);
        }

        IEnumerable<KimiMessage> Slow()
        {
            long start = Stopwatch.GetTimestamp();
            Thread.Sleep(200);
            reading = Stopwatch.GetElapsedTime(start);
            yield return KimiMessage.User("Who are you?");
        }
    }

    [Test]
    public async Task Activity_covers_a_call_below_the_callers_own()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        var ended = new List<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = s => s.Name == KimiTelemetry.ActivitySourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = ended.Add,
        };
        ActivitySource.AddActivityListener(listener);
        using var outer = new Activity("outer").Start();
        GenerationResult? result = null;
        await foreach (GenerationUpdate update in model.GenerateAsync("Who are you?", new GenerationOptions { Temperature = 0 }))
        {
            Assert.That(Activity.Current, Is.SameAs(outer));
            result = update.Result ?? result;
        }

        Activity activity = ended.Single();
        Assert.That((activity.DisplayName, activity.ParentId, activity.Status), Is.EqualTo(("generate kimi-nano", outer.Id, ActivityStatusCode.Unset)));
        Assert.That(activity.GetTagItem("gen_ai.usage.input_tokens"), Is.EqualTo(result!.Usage.PromptTokens));
        Assert.That(activity.GetTagItem("gen_ai.usage.output_tokens"), Is.EqualTo(result.Usage.CompletionTokens));
        Assert.That(activity.GetTagItem("kimicpu.decode.rate"), Is.EqualTo(result.Timings.DecodeTokensPerSecond));
        Assert.That(activity.GetTagItem("kimicpu.decode.drive_bytes"), Is.EqualTo(result.Timings.DecodeDriveBytesPerToken));
        Assert.That(activity.Events.Single().Name, Is.EqualTo("first_token"));
        Assert.That(activity.TagObjects.Select(t => $"{t.Value}"), Has.None.Contains("Who are"), "no text of prompts");

        using var cancelled = new CancellationTokenSource();
        Assert.That(
            async () =>
            {
                await foreach (GenerationUpdate _ in model.GenerateAsync("Who are you?", cancellationToken: cancelled.Token))
                {
                    await cancelled.CancelAsync();
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(ended, Has.Count.EqualTo(2));
        Assert.That(ended[^1].Status, Is.EqualTo(ActivityStatusCode.Error));
    }

    /// <summary>The step's time is told by the thread that runs all calls, the rest by a call that has its answer.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task What_listeners_throw_ends_no_call(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        HashSet<string> heard = [];
        using var meters = new MeterListener { InstrumentPublished = (instrument, l) => Enable(instrument, l) };
        meters.SetMeasurementEventCallback<double>((instrument, _, _, _) => Throw(instrument.Name));
        meters.SetMeasurementEventCallback<long>((instrument, _, _, _) => Throw(instrument.Name));
        meters.Start();
        using var activities = new ActivityListener
        {
            ShouldListenTo = s => s.Name == KimiTelemetry.ActivitySourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = _ => Throw("activity"),
        };
        ActivitySource.AddActivityListener(activities);
        var options = new GenerationOptions { MaxTokens = 20, IgnoreEndOfText = true };
        Task<GenerationResult> other = Task.Run(() => model.Generate("Tell me a story.", options, cancellationToken), cancellationToken);
        GenerationResult? streamed = null;
        await foreach (GenerationUpdate update in model.GenerateAsync("Who are you?", options, cancellationToken))
        {
            streamed = update.Result ?? streamed;
        }

        Assert.That(streamed!.Tokens, Has.Count.EqualTo(20));
        Assert.That((await other).Tokens, Has.Count.EqualTo(20));
        Assert.That(heard, Is.SupersetOf(new[] { "kimicpu.step.duration", "kimicpu.requests.active", "kimicpu.decode.rate", "kimicpu.prompt.tokens", "gen_ai.server.request.duration", "activity" }));

        static void Enable(Instrument instrument, MeterListener listener)
        {
            if (instrument.Meter.Name == KimiTelemetry.MeterName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        }

        void Throw(string name)
        {
            lock (heard)
            {
                heard.Add(name);
            }

            throw new InvalidOperationException($"{name} is not wanted");
        }
    }

    /// <summary>All measurements of the library's meter.</summary>
    private sealed class Measurements : IDisposable
    {
        private readonly MeterListener _listener = new();
        private readonly List<(string Name, double Value, KeyValuePair<string, object?>[] Tags)> _all = [];

        public Measurements()
        {
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == KimiTelemetry.MeterName)
                {
                    Units[instrument.Name] = instrument.Unit;
                    listener.EnableMeasurementEvents(instrument);
                }
            };
            _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags));
            _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
            _listener.Start();
        }

        public Dictionary<string, string?> Units { get; } = [];

        public IEnumerable<(string Key, string Value)> Tags => All().SelectMany(m => m.Tags).Select(t => (t.Key, $"{t.Value}")).Distinct();

        public List<double> Values(string name) => [.. All().Where(m => m.Name == name).Select(m => m.Value)];

        public double Sum(string name, (string Key, object Value)? tag = null) => Of(name, tag).Sum();

        public int Count(string name, (string Key, object Value) tag) => Of(name, tag).Count();

        public void Observe() => _listener.RecordObservableInstruments();

        public void Forget()
        {
            lock (_all)
            {
                _all.Clear();
            }
        }

        public void Dispose() => _listener.Dispose();

        private (string Name, double Value, KeyValuePair<string, object?>[] Tags)[] All()
        {
            lock (_all)
            {
                return [.. _all];
            }
        }

        private IEnumerable<double> Of(string name, (string Key, object Value)? tag) =>
            All().Where(m => m.Name == name && (tag is null || m.Tags.Contains(new KeyValuePair<string, object?>(tag.Value.Key, tag.Value.Value)))).Select(m => m.Value);

        private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            lock (_all)
            {
                _all.Add((instrument.Name, value, tags.ToArray()));
            }
        }
    }
}
