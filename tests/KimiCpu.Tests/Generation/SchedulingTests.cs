// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.Metrics;
using KimiCpu.Chat;
using KimiCpu.Compute.Reference;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>Limits, ends and what is seen of calls that share a model.</summary>
[TestFixture]
internal sealed class SchedulingTests
{
    private static readonly GenerationOptions s_endless = new() { Temperature = 0, IgnoreEndOfText = true };

    [Test]
    public void A_cancelled_call_has_given_its_pages_back_when_the_next_step_begins([Values] bool streamed)
    {
        using var model = new ObservedModel();
        using var source = new CancellationTokenSource();
        using var submitted = new ManualResetEventSlim();
        var held = new List<int>();
        using GenerationEngine engine = model.Engine();
        model.HotPath.BeforePass = () =>
        {
            submitted.Wait();
            held.Add(model.Cache.PageCapacity - model.Cache.FreePages);
            if (held.Count == 20)
            {
                source.Cancel();
            }
        };
        GenerationJob leaving = Submit(engine, [.. Enumerable.Range(1, 100)], 90, streamed, source.Token);
        GenerationJob staying = Submit(engine, [.. Enumerable.Range(200, 40)], 60, streamed, default);
        submitted.Set();
        Assert.That(staying.Completion.GetAwaiter().GetResult().Tokens, Has.Count.EqualTo(60));
        Assert.That(async () => await leaving.Completion, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(held[19], Is.EqualTo(3));
        Assert.That(held[20], Is.EqualTo(1));
    }

    [Test]
    public async Task A_stream_that_nobody_reads_ends_and_gives_its_pages_back()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        await using IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", s_endless with { MaxTokens = 100 }).GetAsyncEnumerator();
        Assert.That(await stream.MoveNextAsync());
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(30_000, 5));
        int tokens = stream.Current.Tokens.Count;
        while (await stream.MoveNextAsync())
        {
            tokens += stream.Current.Tokens.Count;
        }

        Assert.That(tokens, Is.EqualTo(100), "nothing is lost");
    }

    [Test]
    public async Task A_full_model_refuses_at_once_and_takes_calls_again_when_one_has_ended()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 } });
        await using (IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", s_endless).GetAsyncEnumerator())
        {
            Assert.That(await stream.MoveNextAsync());
            Assert.That(() => model.Generate("Who are you?"), Throws.TypeOf<KimiBusyException>().With.Property(nameof(KimiBusyException.RetryAfter)).GreaterThanOrEqualTo(TimeSpan.FromSeconds(1)));
            Assert.That(async () => await model.GenerateAsync("Who are you?").GetAsyncEnumerator().MoveNextAsync(), Throws.TypeOf<KimiBusyException>());
            Assert.That(model.Activity.RunningCalls, Is.EqualTo(1));
        }

        Assert.That(() => model.Activity.RunningCalls, Is.Zero.After(30_000, 5));
        Assert.That(model.Generate("Who are you?", new GenerationOptions { Temperature = 0 }).Text, Is.Not.Empty);
    }

    /// <summary>Whoever is refused is told to come again, and would encode a long prompt each time.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_full_model_looks_at_no_prompt(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 } });
        await using IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", s_endless, cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await stream.MoveNextAsync());
        IEnumerable<KimiMessage> unread = Enumerable.Range(0, 1).Select<int, KimiMessage>(_ => throw new InvalidOperationException("It was read."));
        Assert.That(() => model.Generate(unread, s_endless, cancellationToken), Throws.TypeOf<KimiBusyException>());
        Assert.That(() => model.GenerateAsync(unread, s_endless, cancellationToken), Throws.TypeOf<KimiBusyException>());
    }

    /// <summary>To try again, as one does with a model that is full, would not help.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_full_model_says_what_is_wrong_with_arguments(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 } });
        await using IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", s_endless, cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await stream.MoveNextAsync());
        Assert.That(() => model.Generate((IEnumerable<KimiMessage>)null!, s_endless, cancellationToken), Throws.ArgumentNullException);
        Assert.That(() => model.Generate("Who are you?", s_endless with { TopP = 2 }, cancellationToken), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("TopP"));
        Assert.That(() => model.GenerateAsync(new[] { -1 }, s_endless, cancellationToken), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    /// <summary>A call that leaves makes the scheduler look at its clock; that its caller has heard nothing by then is what is asserted.</summary>
    [TestCase(false)]
    [TestCase(true)]
    public void A_call_has_left_when_its_caller_hears_of_its_end(bool fails)
    {
        using var model = new ObservedModel();
        var clock = new WatchedClock();
        var scheduler = new Scheduler(model.Cache, 16, new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 }, clock);
        using GenerationEngine engine = model.Engine(scheduler);
        using var submitted = new ManualResetEventSlim();
        var heard = new List<bool>();
        GenerationJob? job = null;
        model.HotPath.BeforePass = () =>
        {
            submitted.Wait();
            clock.Read = () => heard.AddRange(scheduler.Running.Count == 0 ? [job!.Completion.IsCompleted] : []);
            if (fails)
            {
                throw new IOException("the drive is gone");
            }
        };
        job = Submit(engine, [1, 2, 3], 1, streamed: false, default);
        submitted.Set();
        Assert.That(async () => await job.Completion, fails ? Throws.TypeOf<IOException>() : Throws.Nothing);
        engine.Dispose();
        Assert.That(heard.First(), Is.False);
    }

    /// <summary>A layer may take seconds where experts come from a drive, and a step has dozens.</summary>
    [Test]
    public void A_step_ends_between_layers_when_all_of_its_calls_are_cancelled([Values] bool both)
    {
        using var model = new ObservedModel();
        var scheduler = new Scheduler(model.Cache, 16, new SchedulingOptions(), TimeProvider.System);
        using GenerationEngine engine = model.Engine(scheduler);
        using var submitted = new ManualResetEventSlim();
        using var first = new CancellationTokenSource();
        using var second = new CancellationTokenSource();
        var layers = new List<int>();
        int pass = 0;
        model.HotPath.BeforePass = () =>
        {
            submitted.Wait();
            pass++;
        };
        model.HotPath.BeforeLayer = layer =>
        {
            if (pass != 2)
            {
                return;
            }

            layers.Add(layer);
            first.Cancel();
            if (both)
            {
                second.Cancel();
            }
        };
        GenerationJob alone = Submit(engine, [1], 1, streamed: false, default);
        GenerationJob a = Submit(engine, [2, 3], 20, streamed: false, first.Token);
        GenerationJob b = Submit(engine, [4, 5], 3, streamed: false, second.Token);
        submitted.Set();
        Assert.That(async () => await alone.Completion, Throws.Nothing);
        Assert.That(async () => await a.Completion, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(async () => await b.Completion, both ? Throws.InstanceOf<OperationCanceledException>() : Throws.Nothing);
        engine.Dispose();
        Assert.That(layers, Has.Count.EqualTo(both ? 1 : model.LayerCount));
        Assert.That(model.Cache.FreePages, Is.EqualTo(model.Cache.PageCapacity));
    }

    /// <summary>What a listener throws is how it stops its call, which ends with the step whatever that computes.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_step_ends_between_layers_when_the_listener_of_its_only_call_has_thrown([Values] bool only, CancellationToken cancellationToken)
    {
        using var model = new ObservedModel();
        using GenerationEngine engine = model.Engine();
        using var begun = new ManualResetEventSlim();
        using var submitted = new ManualResetEventSlim();
        int layers = 0;
        int pass = 0;
        model.HotPath.BeforePass = () =>
        {
            begun.Set();
            submitted.Wait(cancellationToken);
            pass++;
        };
        model.HotPath.BeforeLayer = _ => layers += pass == 2 ? 1 : 0;
        GenerationJob first = Submit(engine, [1], 1, streamed: false, cancellationToken);
        begun.Wait(cancellationToken);
        GenerationJob stopped = Submit(engine, [2, 3], 20, streamed: false, cancellationToken, new Stopper(() => throw new InvalidOperationException("enough")));
        GenerationJob? other = only ? null : Submit(engine, [4, 5], 3, streamed: false, cancellationToken);
        submitted.Set();
        Assert.That(async () => await first.Completion.WaitAsync(cancellationToken), Throws.Nothing);
        Assert.That(async () => await stopped.Completion.WaitAsync(cancellationToken), Throws.InvalidOperationException.With.Message.EqualTo("enough"));
        other ??= Submit(engine, [4, 5], 3, streamed: false, cancellationToken);
        Assert.That(async () => await other.Completion.WaitAsync(cancellationToken), Throws.Nothing);
        engine.Dispose();
        Assert.That(layers, Is.EqualTo(only ? 0 : model.LayerCount));
        Assert.That(model.Cache.FreePages, Is.EqualTo(model.Cache.PageCapacity));
    }

    /// <summary>As a listener does that looks at the token of the call itself, or whose connection is closed with it.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_call_that_is_cancelled_and_whose_listener_throws_is_a_cancelled_one_to_its_session([Values] bool alone, CancellationToken cancellationToken)
    {
        using var model = new ObservedModel();
        using GenerationEngine engine = model.Engine();
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var session = new SessionState(engine);
        using var submitted = new ManualResetEventSlim();
        int pass = 0;
        model.HotPath.BeforePass = () =>
        {
            submitted.Wait(cancellationToken);
            pass++;

            // It is told ten times a second at most.
            Thread.Sleep(150);
        };
        var leaving = new Stopper(() =>
        {
            if (pass == 2)
            {
                source.Cancel();
                throw new IOException("the connection is closed");
            }
        });
        GenerationJob? other = alone ? null : Submit(engine, [1], 5, streamed: false, cancellationToken);
        GenerationJob call = Submit(engine, [.. Enumerable.Range(2, 64)], 5, streamed: false, source.Token, leaving, session);
        submitted.Set();
        Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(cancellationToken.IsCancellationRequested, Is.False);
        Assert.That(session.Length, alone ? Is.EqualTo(16) : Is.Positive);
        Assert.That(async () => await (other?.Completion ?? Task.CompletedTask), Throws.Nothing);
    }

    /// <summary>He may have gone, while the step goes on for others.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void Who_has_cancelled_is_told_no_more_of_his_prompt(CancellationToken cancellationToken)
    {
        using var model = new ObservedModel();
        using GenerationEngine engine = model.Engine();
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var submitted = new ManualResetEventSlim();
        int told = 0;
        model.HotPath.BeforePass = () => submitted.Wait(cancellationToken);

        // It is told ten times a second at most.
        model.HotPath.BeforeLayer = _ => Thread.Sleep(110);
        var leaving = new Stopper(() =>
        {
            told++;
            source.Cancel();
        });
        GenerationJob other = Submit(engine, [1], 3, streamed: false, cancellationToken);
        GenerationJob call = Submit(engine, [.. Enumerable.Range(2, 64)], 5, streamed: false, source.Token, leaving);
        submitted.Set();
        Assert.That(async () => await call.Completion.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(async () => await other.Completion.WaitAsync(cancellationToken), Throws.Nothing);
        Assert.That(told, Is.EqualTo(1));
    }

    [Test]
    public void A_call_that_takes_too_long_fails_with_the_limit()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxCallTime = TimeSpan.FromMilliseconds(20) } });
        Assert.That(() => model.Generate("Tell me a story.", s_endless), Throws.TypeOf<TimeoutException>().With.Message.Contains("MaxCallTime"));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void Limits_outside_their_ranges_are_named()
    {
        SchedulingOptions[] wrong = [new() { MaxRunning = 0 }, new() { MaxWaiting = -1 }, new() { MaxQueueTime = TimeSpan.Zero }, new() { MaxCallTime = TimeSpan.FromSeconds(-1) }, new() { MaxTokenGap = TimeSpan.Zero }];
        foreach (SchedulingOptions options in wrong)
        {
            Assert.That(() => KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = options }), Throws.TypeOf<ArgumentOutOfRangeException>().With.Message.Contains("takes"), options.ToString());
        }
    }

    [Test]
    public async Task Activity_and_meters_say_what_goes_on()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 100L * 64 * 6 * 80 * 2 });
        var observed = new List<(string Name, long Value, string? State)>();
        var steps = new List<double>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter.Name == KimiTelemetry.MeterName)
                {
                    l.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            if (instrument.IsObservable)
            {
                observed.Add((instrument.Name, value, tags.Length > 1 ? $"{tags[1].Value}" : null));
            }
        });
        listener.SetMeasurementEventCallback<double>((instrument, value, _, _) =>
        {
            lock (steps)
            {
                steps.AddRange(instrument.Name == "kimicpu.step.duration" ? [value] : []);
            }
        });
        listener.Start();
        Assert.That(model.Activity, Is.EqualTo(new KimiModelActivity { CachePages = 100 }));
        await using (IAsyncEnumerator<GenerationUpdate> stream = model.GenerateAsync("Tell me a story.", s_endless).GetAsyncEnumerator())
        {
            for (int token = 0; token < 20; token++)
            {
                Assert.That(await stream.MoveNextAsync());
            }

            KimiModelActivity now = model.Activity;
            Assert.That((now.RunningCalls, now.WaitingCalls), Is.EqualTo((1, 0)));
            Assert.That(now.UsedCachePages, Is.Positive);
            Assert.That(now.TokensPerSecond, Is.Positive);
            Assert.That(now.PromptTokensPerSecond, Is.Positive);
            Assert.That(now.BytesPerSecond, Is.Positive);
            listener.RecordObservableInstruments();
        }

        Assert.That(observed, Does.Contain(("kimicpu.requests.running", 1L, (string?)null)).And.Contain(("kimicpu.requests.waiting", 0L, (string?)null)));
        Assert.That(observed.Where(o => o.Name == "kimicpu.cache.pages").Select(o => o.State), Is.SupersetOf(new[] { "used", "reusable", "free" }));
        Assert.That(observed.Where(o => o.Name == "kimicpu.cache.pages").Sum(o => o.Value), Is.EqualTo(100));
        lock (steps)
        {
            Assert.That(steps, Has.Count.GreaterThanOrEqualTo(20).And.All.Positive);
        }

        Assert.That(() => (model.Activity.RunningCalls, model.Activity.UsedCachePages), Is.EqualTo((0, 0)).After(60_000, 5));
        Assert.That(model.Activity.ReusableCachePages, Is.Positive);
    }

    private static GenerationJob Submit(GenerationEngine engine, int[] prompt, int tokens, bool streamed, CancellationToken cancellationToken, IProgress<PromptProgress>? progress = null, SessionState? session = null)
    {
        GenerationOptions options = s_endless with { MaxTokens = tokens, PromptProgress = progress };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), KimiCpu.Chat.AnswerLayout.Plain);
        var job = new GenerationJob(prompt, tokens, options, answer, streamed, constraint: null, cancellationToken) { Session = session };
        engine.Submit(job);
        return job;
    }

    private sealed class Stopper(Action stop) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value) => stop();
    }

    /// <summary>The system's time, for a test that wants to know when somebody asks.</summary>
    private sealed class WatchedClock : TimeProvider
    {
        public Action? Read { get; set; }

        public override long GetTimestamp()
        {
            Read?.Invoke();
            return base.GetTimestamp();
        }
    }
}
