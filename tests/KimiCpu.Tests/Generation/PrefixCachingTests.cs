// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>What calls take over from earlier ones, on the embedded model; answers are always those of a model without a cache.</summary>
[TestFixture]
internal sealed class PrefixCachingTests
{
    private const long PageBytes = 64L * 6 * 80 * 2;

    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 30, LogProbabilities = true, Thinking = false };

    private KimiModel _without = null!;

    [OneTimeSetUp]
    public void Open() => _without = KimiModel.OpenEmbedded(new KimiModelOptions { PrefixCaching = false });

    [OneTimeTearDown]
    public void Close() => _without.Dispose();

    [Test]
    public void Turns_of_a_conversation_compute_what_is_new([Values] bool exact)
    {
        var options = new KimiModelOptions { Exact = exact };
        using KimiModel model = KimiModel.OpenEmbedded(options);
        using KimiModel without = KimiModel.OpenEmbedded(options with { PrefixCaching = false });
        List<KimiMessage> messages = [];
        int known = 0;
        foreach (string question in new[] { "My name is Anna.", "What is 7 + 8?", "What is the capital of France?", "What is my name?" })
        {
            messages.Add(KimiMessage.User(question));
            GenerationResult result = model.Generate(messages, s_greedy);
            GenerationResult expected = without.Generate(messages, s_greedy);
            AssertSame(result, expected);
            Assert.That(expected.Usage.CachedTokens, Is.Zero);
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(known), "all that the turn before has computed");
            messages.Add(KimiMessage.Assistant(result.Text));

            // Of the last token, which ends the turn, nothing has been computed.
            known = result.Usage.PromptTokens + result.Usage.CompletionTokens - 1;
        }

        Assert.That(messages[^1].Content, Does.Contain("Anna"));
        Assert.That(model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity));
        Assert.That(without.CachePages.Reusable, Is.Zero);
    }

    [Test]
    public void The_same_prompt_again_computes_its_last_token()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        GenerationResult first = model.Generate("Who are you?", s_greedy);
        GenerationResult second = model.Generate("Who are you?", s_greedy);
        AssertSame(second, first);
        Assert.That(second.Usage.CachedTokens, Is.EqualTo(second.Usage.PromptTokens - 1));
        Assert.That(second.Timings.PrefillTokensPerSecond, Is.EqualTo(1 / second.Timings.Prefill.TotalSeconds).Within(0.001).Percent, "one token was computed");
        using KimiModel page = KimiModel.OpenEmbedded();
        int[] prompt = [.. Enumerable.Range(100, 128)];
        page.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = 1 });
        Assert.That(page.Generate(prompt.AsMemory(), s_greedy).Usage.CachedTokens, Is.EqualTo(127));
    }

    /// <summary>It is cancelled by the thread that computes, between two layers.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_prompt_cancelled_in_its_middle_leaves_what_is_complete(CancellationToken cancellationToken)
    {
        int[] prompt = [.. Enumerable.Range(0, 1500).Select(i => (i * 7) % 2000)];
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { PrefillChunk = 10 });
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var leaving = new Leaving(source);
        Assert.That(() => model.Generate(prompt.AsMemory(), s_greedy with { PromptProgress = leaving }, source.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(leaving.Done, Is.InRange(20, 1490));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
        GenerationResult result = model.Generate(prompt.AsMemory(), s_greedy, cancellationToken);
        Assert.That(result.Usage.CachedTokens, Is.InRange(10, 1490).And.Matches<int>(n => n % 10 == 0), "whole steps");
        AssertSame(result, _without.Generate(prompt.AsMemory(), s_greedy, cancellationToken));
    }

    [Test]
    public void Calls_at_once_share_what_one_of_them_has_finished()
    {
        int[] prompt = [.. Enumerable.Range(0, 1500).Select(i => (i * 11) % 2000)];
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { PrefillChunk = 64 });
        GenerationResult expected = _without.Generate(prompt.AsMemory(), s_greedy);
        Task<GenerationResult>[] calls = [.. Enumerable.Range(0, 4).Select(_ => Task.Run(() => model.Generate(prompt.AsMemory(), s_greedy)))];
        Task.WaitAll(calls);
        foreach (Task<GenerationResult> call in calls)
        {
            AssertSame(call.Result, expected);
        }

        // The steps go to the first call until its prompt is in; the others then find it.
        Assert.That(calls.Sum(c => c.Result.Usage.CachedTokens), Is.GreaterThan(2 * prompt.Length));
    }

    [Test]
    public void A_budget_that_is_full_makes_room_and_never_refuses()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 6 * PageBytes });
        for (int i = 0; i < 40; i++)
        {
            int[] prompt = [.. Enumerable.Range(0, 100 + (i * 5)).Select(t => (t * (i + 1)) % 2000)];
            AssertSame(model.Generate(prompt.AsMemory(), s_greedy), _without.Generate(prompt.AsMemory(), s_greedy));
            Assert.That(model.CachePages.Free, Is.EqualTo(6));
        }

        Assert.That(model.CachePages.Reusable, Is.InRange(3, 6));
    }

    [Test]
    public void Without_prefix_caching_nothing_stays()
    {
        Assert.That(_without.Generate("Who are you?", s_greedy).Usage.CachedTokens, Is.Zero);
        Assert.That(_without.Generate("Who are you?", s_greedy).Usage.CachedTokens, Is.Zero);
        Assert.That(_without.CachePages.Reusable, Is.Zero);
        int first;
        using (KimiSession session = _without.CreateSession())
        {
            session.Generate([KimiMessage.User("Who are you?")], s_greedy);
            first = session.TokenCount;
            Assert.That(session.Generate([KimiMessage.User("Who are you?")], s_greedy).Usage.CachedTokens, Is.Positive);
            Assert.That(_without.Generate("Who are you?", s_greedy).Usage.CachedTokens, Is.Zero, "a call outside of the session");
            using KimiSession stranger = _without.CreateSession();
            Assert.That(stranger.Generate([KimiMessage.User("Who are you?")], s_greedy).Usage.CachedTokens, Is.Zero, "a call of another session");
        }

        Assert.That(first, Is.Positive);
        Assert.That(() => _without.CachePages.Reusable, Is.Zero.After(60_000, 5));
        Assert.That(() => _without.CachePages.Free, Is.EqualTo(_without.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void Without_prefix_caching_a_session_goes_on_from_its_own_tokens_alone()
    {
        int[] text = [.. Enumerable.Range(0, 300).Select(i => (i * 17) % 2000)];
        int[] longer = [.. text, .. Enumerable.Range(0, 100)];
        using KimiSession whole = _without.CreateSession();
        using KimiSession session = _without.CreateSession();
        whole.Generate(longer.AsMemory(), s_greedy with { MaxTokens = 1 });
        session.Generate(text.AsMemory(), s_greedy with { MaxTokens = 1 });
        using KimiSession branch = session.Branch();
        GenerationResult result = session.Generate(longer.AsMemory(), s_greedy);
        Assert.That(result.Usage.CachedTokens, Is.EqualTo(300), "not what the other session knows of the same page and the next one");
        AssertSame(result, _without.Generate(longer.AsMemory(), s_greedy));
        Assert.That(branch.Generate(text.AsMemory()[..250], s_greedy).Usage.CachedTokens, Is.EqualTo(249));
        Assert.That(branch.Generate(new[] { 9, 9 }.AsMemory(), s_greedy).Usage.CachedTokens, Is.Zero);
    }

    /// <summary>Conversations that branch, end early and begin anew, eight at a time in a budget that is much too small for all.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task Many_conversations_that_branch_and_break_off_get_the_answers_of_a_model_without_a_cache([Values(1, 2)] int threads, CancellationToken cancellationToken)
    {
        string[] questions = ["Who are you?", "What is 7 + 8?", "What is the capital of France?", "My name is Anna.", "What is my name?", "Count to five."];
        var expected = new System.Collections.Concurrent.ConcurrentDictionary<string, GenerationResult>();
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 60 * PageBytes, PrefillChunk = 40, Threads = threads });
        int finished = 0;
        int cached = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(worker => Task.Run(async () =>
        {
            var random = new Random(worker);
            KimiSession session = model.CreateSession();
            List<KimiMessage> messages = [];
            for (int call = 0; call < 15; call++)
            {
                messages.Add(KimiMessage.User(questions[random.Next(questions.Length)]));
                using var source = new CancellationTokenSource();
                int leaveAfter = random.Next(3) == 0 ? random.Next(1, 20) : int.MaxValue;
                GenerationResult? result = null;
                try
                {
                    IAsyncEnumerable<GenerationUpdate> updates = random.Next(4) == 0
                        ? model.GenerateAsync(messages, s_greedy, source.Token)
                        : session.GenerateAsync(messages, s_greedy, source.Token);
                    await foreach (GenerationUpdate update in updates)
                    {
                        result = update.Result;
                        if (--leaveAfter == 0)
                        {
                            await source.CancelAsync();
                        }
                    }
                }
                catch (OperationCanceledException)
                {
                }

                if (result is not null)
                {
                    AssertSame(result, expected.GetOrAdd(string.Join('|', messages.Select(m => m.Content)), _ => _without.Generate(messages, s_greedy)));
                    Interlocked.Increment(ref finished);
                    Interlocked.Add(ref cached, result.Usage.CachedTokens);
                    messages.Add(KimiMessage.Assistant(result.Text));
                }

                if (result is null || messages.Count > 8)
                {
                    messages.RemoveRange(0, random.Next(messages.Count + 1) / 2 * 2);
                    messages.RemoveAll(m => messages.Count % 2 == 1 && m == messages[^1]);
                }

                if (random.Next(4) == 0)
                {
                    KimiSession branch = session.Branch();
                    session.Dispose();
                    session = branch;
                }
            }

            session.Dispose();
        }))).WaitAsync(cancellationToken);
        Assert.That(finished, Is.GreaterThan(60));
        Assert.That(cached, Is.GreaterThan(1000));
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    /// <summary>Cancels a call once some steps of its prompt are done.</summary>
    private sealed class Leaving(CancellationTokenSource source) : IProgress<PromptProgress>
    {
        public int Done { get; private set; }

        public void Report(PromptProgress value)
        {
            Done = value.Tokens;
            if (Done >= 20)
            {
                source.Cancel();
            }

            // Reports are a tenth of a second apart, in which a fast machine would be done.
            Thread.Sleep(120);
        }
    }

    private static void AssertSame(GenerationResult actual, GenerationResult expected)
    {
        Assert.That(actual.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(actual.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
    }
}
