// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using KimiCpu.Compute.Reference;
using KimiCpu.Generation;
using KimiCpu.Model;
using KimiCpu.Tests.Model;
using KimiCpu.Tests.Tokens;

namespace KimiCpu.Tests.Generation;

/// <summary>Thousands of calls that come, leave and fail at random leave no page behind, no memory, and a model that answers as before.</summary>
[TestFixture]
internal sealed class SoakTests
{
    private const long PageBytes = 64L * 6 * 80 * 2;

    [Test]
    [CancelAfter(300_000)]
    public async Task Random_calls_streams_and_sessions_leave_nothing_behind(CancellationToken cancellationToken)
    {
        var options = new KimiModelOptions
        {
            KvCacheBytes = 24 * PageBytes,
            PrefillChunk = 48,
            Scheduling = new SchedulingOptions { MaxRunning = 6, MaxWaiting = 3 },
        };
        using KimiModel model = KimiModel.OpenEmbedded(options);
        using KimiModel alone = KimiModel.OpenEmbedded(new KimiModelOptions { PrefixCaching = false });
        var greedy = new GenerationOptions { Temperature = 0, MaxTokens = 12, IgnoreEndOfText = true };
        var expected = new ConcurrentDictionary<int, IReadOnlyList<int>>();
        var outcomes = new ConcurrentDictionary<string, int>();
        await RunAll(0);
        long before = GC.GetTotalMemory(forceFullCollection: true);
        await RunAll(1);
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(10_000, 5));
        Assert.That(() => (model.Activity.RunningCalls, model.Activity.WaitingCalls, model.Activity.UsedCachePages), Is.EqualTo((0, 0, 0)).After(10_000, 5));
        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - before, Is.LessThan(4 << 20), "bytes that the second half has left");
        Assert.That(outcomes.Keys, Is.SupersetOf(new[] { "answered", "cancelled", "left", "refused" }));
        Assert.That(outcomes.Values.Sum(), Is.EqualTo(2000));

        Task RunAll(int half) => Task.WhenAll(Enumerable.Range(0, 12).Select(worker => Task.Run(async () =>
        {
            var random = new Random((half * 100) + worker);
            KimiSession session = model.CreateSession();
            int calls = worker < 4 ? 84 : 83;
            for (int call = 0; call < calls; call++)
            {
                outcomes.AddOrUpdate(await OneCall(random, session), 1, (_, n) => n + 1);
                if (random.Next(5) == 0)
                {
                    KimiSession next = random.Next(2) == 0 ? session.Branch() : model.CreateSession();
                    session.Dispose();
                    session = next;
                }
            }

            session.Dispose();
        }))).WaitAsync(cancellationToken);

        async Task<string> OneCall(Random random, KimiSession session)
        {
            // Few different texts, so that prefixes and whole prompts are shared; one in twenty is too long for the budget.
            int text = random.Next(12);
            int length = random.Next(20) == 0 ? 2000 : 1 + (text * 17 % 150);
            ReadOnlyMemory<int> prompt = Enumerable.Range(0, length).Select(i => (i * (1 + (text % 3))) % 2000).ToArray();
            using var source = new CancellationTokenSource();
            int kind = random.Next(4);
            int leaveAfter = random.Next(1, 12);
            try
            {
                GenerationResult? result = null;
                IAsyncEnumerable<GenerationUpdate> updates = random.Next(3) == 0 ? session.GenerateAsync(prompt, greedy, source.Token) : model.GenerateAsync(prompt, greedy, source.Token);
                await foreach (GenerationUpdate update in updates)
                {
                    result = update.Result;
                    leaveAfter--;
                    if (leaveAfter == 0 && kind == 0)
                    {
                        return "left";
                    }

                    if (leaveAfter == 0 && kind == 1)
                    {
                        await source.CancelAsync();
                    }
                }

                Assert.That(result!.Tokens, Is.EqualTo(expected.GetOrAdd(text, _ => alone.Generate(prompt, greedy).Tokens)));
                return "answered";
            }
            catch (OperationCanceledException)
            {
                return "cancelled";
            }
            catch (ContextLengthException)
            {
                return "too long";
            }
            catch (KimiBusyException)
            {
                await Task.Delay(random.Next(5), cancellationToken);
                return "refused";
            }
        }
    }

    [Test]
    [CancelAfter(300_000)]
    public async Task Steps_that_fail_at_random_leave_nothing_behind(CancellationToken cancellationToken)
    {
        using var model = new ObservedModel(pages: 12);
        var random = new Random(3);
        model.HotPath.BeforePass = () => _ = random.Next(12) == 0 ? throw new IOException("the drive is gone") : 0;
        using GenerationEngine engine = model.Engine(prefillChunk: 24);
        var calls = new Random(4);
        (int answered, int failed) = (0, 0);
        for (int round = 0; round < 60; round++)
        {
            using var session = new SessionState(engine);
            GenerationJob[] jobs = [.. Enumerable.Range(0, 5).Select(i => Submit(engine, i == 0 ? session : null, calls))];
            foreach (GenerationJob job in jobs)
            {
                try
                {
                    Assert.That((await job.Completion.WaitAsync(cancellationToken)).Tokens, Has.Count.EqualTo(job.MaxTokens));
                    answered++;
                }
                catch (IOException)
                {
                    failed++;
                }
            }
        }

        Assert.That((answered, failed), Is.EqualTo((answered, 300 - answered)));
        Assert.That(Math.Min(answered, failed), Is.GreaterThan(20));
        Assert.That(() => engine.FreePages, Is.EqualTo(engine.PageCapacity).After(10_000, 5));
    }

    /// <summary>What is done between steps comes behind the step's own numbers, and there may be no further step.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Pages_of_a_session_that_ends_during_the_last_step_are_seen_to_be_free(CancellationToken cancellationToken)
    {
        using var model = new ObservedModel(pages: 12);
        using GenerationEngine engine = model.Engine(prefillChunk: 64);
        using var session = new SessionState(engine);
        await Submit(engine, session, new Random(1)).Completion.WaitAsync(cancellationToken);
        Assert.That(() => engine.Activity.Now(null).UsedCachePages, Is.Positive.After(10_000, 5));
        model.HotPath.BeforePass = session.Dispose;
        await Submit(engine, null, new Random(1), most: 1).Completion.WaitAsync(cancellationToken);
        Assert.That(() => engine.Activity.Now(null).UsedCachePages, Is.Zero.After(10_000, 5));
    }

    private static GenerationJob Submit(GenerationEngine engine, SessionState? session, Random random, int most = 5)
    {
        int tokens = random.Next(1, most + 1);
        var options = new GenerationOptions { Temperature = 0, MaxTokens = tokens, IgnoreEndOfText = true };
        var answer = new AnswerBuilder(TokenizerCases.Tokenizer, options, new HashSet<int>(), KimiCpu.Chat.AnswerLayout.Plain);
        int[] prompt = [.. Enumerable.Range(random.Next(3), random.Next(1, 40))];
        var job = new GenerationJob(prompt, tokens, options, answer, streamed: false, constraint: null, CancellationToken.None) { Session = session };
        engine.Submit(job);
        return job;
    }
}
