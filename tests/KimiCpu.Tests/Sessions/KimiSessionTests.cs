// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Sessions;

/// <summary>Sessions on the embedded model: what they keep, and when it is given back.</summary>
[TestFixture]
internal sealed class KimiSessionTests
{
    private const long PageBytes = 64L * 6 * 80 * 2;

    private static readonly GenerationOptions s_greedy = new() { Temperature = 0, MaxTokens = 20, Thinking = false };

    [Test]
    public void A_session_keeps_the_prompt_and_the_answer_of_its_last_call()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        Assert.That(session.TokenCount, Is.Zero);
        GenerationResult result = session.Generate([KimiMessage.User("Who are you?")], s_greedy);
        Assert.That(session.TokenCount, Is.EqualTo(result.Usage.PromptTokens + result.Usage.CompletionTokens - 1));
        GenerationResult raw = session.Generate(new[] { 1, 2, 3 }.AsMemory(), s_greedy with { MaxTokens = 4 });
        Assert.That(session.TokenCount, Is.EqualTo(3 + 4 - 1));
        Assert.That(raw.Usage.CachedTokens, Is.Zero);
    }

    /// <summary>Where calls share nothing, so that nobody else can have kept it.</summary>
    [Test]
    public void A_session_keeps_what_a_cancelled_call_has_computed()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { PrefixCaching = false });
        using KimiSession session = model.CreateSession();
        using var source = new CancellationTokenSource();
        int[] prompt = [5, 6, 7];
        GenerationOptions endless = s_greedy with { IgnoreEndOfText = true, MaxTokens = 8000 };
        int shown = 0;
        Assert.That(
            async () =>
            {
                await foreach (GenerationUpdate update in session.GenerateAsync(prompt.AsMemory(), endless, source.Token))
                {
                    shown += update.Tokens.Count;
                    if (shown >= 5)
                    {
                        await source.CancelAsync();
                    }
                }
            },
            Throws.InstanceOf<OperationCanceledException>());
        int kept = session.TokenCount;
        Assert.That(kept, Is.GreaterThanOrEqualTo(prompt.Length + shown - 1), "all but the last one have been computed from");
        IReadOnlyList<int> answer = model.Generate(prompt.AsMemory(), endless with { MaxTokens = kept - prompt.Length + 1 }).Tokens;
        Assert.That(session.Generate(prompt.Concat(answer).ToArray().AsMemory(), s_greedy).Usage.CachedTokens, Is.EqualTo(kept));
        Assert.That(session.Generate([KimiMessage.User("Who are you?")], s_greedy).Usage.CachedTokens, Is.Zero);
    }

    /// <summary>The engine is held by another call, so that it has not come to the end of the first one.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_session_has_its_tokens_when_a_stream_that_was_left_early_is_disposed_of(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        using var held = new ManualResetEventSlim();
        using var free = new ManualResetEventSlim();
        IAsyncEnumerator<GenerationUpdate> stream = session.GenerateAsync(new[] { 5, 6, 7 }.AsMemory(), s_greedy with { IgnoreEndOfText = true, MaxTokens = 8000 }, cancellationToken).GetAsyncEnumerator(cancellationToken);
        Assert.That(await stream.MoveNextAsync());
        var holding = new Immediate<PromptProgress>(_ =>
        {
            held.Set();
            free.Wait(cancellationToken);
        });
        Task other = Task.Run(() => model.Generate(new[] { 1, 2 }.AsMemory(), s_greedy with { MaxTokens = 1, PromptProgress = holding }, CancellationToken.None), CancellationToken.None);
        held.Wait(cancellationToken);
        Task left = stream.DisposeAsync().AsTask();
        await Task.WhenAny(left, Task.Delay(200, cancellationToken));
        bool early = left.IsCompleted;
        free.Set();
        await left.WaitAsync(cancellationToken);
        Assert.That(early, Is.False);
        Assert.That(session.TokenCount, Is.GreaterThanOrEqualTo(3));
        await other;
    }

    /// <summary>Its tokens come from a file, since a limit that is sure to end one call might end the other.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_call_that_takes_too_long_leaves_its_session_as_it_was(CancellationToken cancellationToken)
    {
        string path = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}");
        try
        {
            using (KimiModel unlimited = KimiModel.OpenEmbedded())
            using (KimiSession saved = unlimited.CreateSession())
            {
                saved.Generate(Enumerable.Range(0, 200).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 }, cancellationToken);
                saved.Save(path, cancellationToken: cancellationToken);
            }

            using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxCallTime = TimeSpan.FromMilliseconds(200) } });
            using KimiSession session = model.LoadSession(path, cancellationToken: cancellationToken);
            Assert.That(
                () => session.Generate(new[] { 900, 901, 902 }.AsMemory(), s_greedy with { IgnoreEndOfText = true, MaxTokens = 8000 }, cancellationToken),
                Throws.TypeOf<TimeoutException>().With.Message.Contains("MaxCallTime"));
            Assert.That(session.TokenCount, Is.EqualTo(200));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    public void Other_calls_never_push_a_session_out_and_its_disposal_makes_room()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes });
        int[] kept = [.. Enumerable.Range(0, 250)];
        KimiSession session = model.CreateSession();
        session.Generate(kept.AsMemory(), s_greedy with { MaxTokens = 1 });
        Assert.That(model.CachePages.Free, Is.EqualTo(4));
        for (int i = 1; i < 10; i++)
        {
            model.Generate(Enumerable.Repeat(i, 200).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 });
        }

        Assert.That(session.Generate(kept.AsMemory(), s_greedy with { MaxTokens = 1 }).Usage.CachedTokens, Is.EqualTo(249));
        int[] large = [.. Enumerable.Repeat(3, 400)];
        Assert.That(
            () => model.Generate(large.AsMemory(), s_greedy with { MaxTokens = 1 }),
            Throws.TypeOf<ContextLengthException>().With.Message.Contains("4 of 8").And.Message.Contains("sessions"));
        Assert.That(
            () => model.Generate(large[..100].AsMemory(), s_greedy with { MaxTokens = 300, IgnoreEndOfText = true }),
            Throws.TypeOf<ContextLengthException>().With.Message.Contains("sessions"));
        session.Dispose();
        session.Dispose();
        Assert.That(model.Generate(large.AsMemory(), s_greedy with { MaxTokens = 1 }).Tokens, Has.Count.EqualTo(1));
        Assert.That(model.CachePages.Free, Is.EqualTo(8));
    }

    /// <summary>All that it keeps is what its call begins with, so there is nothing to give up.</summary>
    [Test]
    public async Task Of_two_calls_that_fill_the_cache_the_younger_fails_alone_and_its_session_stays_as_it_was()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes });
        using KimiSession older = model.CreateSession();
        using KimiSession younger = model.CreateSession();
        younger.Generate(Enumerable.Repeat(8, 64).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 });
        GenerationOptions most = s_greedy with { MaxTokens = 300, IgnoreEndOfText = true };
        Task<GenerationResult>? second = null;
        GenerationResult? first = null;
        await foreach (GenerationUpdate update in older.GenerateAsync(Enumerable.Repeat(7, 100).ToArray().AsMemory(), most))
        {
            second ??= Task.Run(() => younger.Generate(Enumerable.Repeat(8, 100).ToArray().AsMemory(), most));
            first = update.Result;
        }

        Assert.That(async () => await second!, Throws.TypeOf<ContextLengthException>().With.Message.Contains("open sessions leave"));
        Assert.That(first!.Tokens, Has.Count.EqualTo(300));
        Assert.That((older.TokenCount, younger.TokenCount), Is.EqualTo((399, 64)));
        older.Dispose();
        Assert.That(younger.Generate(Enumerable.Repeat(8, 100).ToArray().AsMemory(), most).Tokens, Has.Count.EqualTo(300));
    }

    /// <summary>As after an answer with reasoning, which the next prompt does not show. The second call takes all pages there are; it lacks them when it comes, or only for the end of its answer.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void What_a_session_keeps_takes_no_room_from_the_call_that_replaces_it([Values(300, 20)] int answered, [Values] bool shares, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes, PrefixCaching = shares });
        using KimiSession session = model.CreateSession();
        int[] prompt = [.. Enumerable.Range(0, 100)];
        session.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = answered, IgnoreEndOfText = true }, cancellationToken);
        Assert.That(session.TokenCount, Is.EqualTo(99 + answered));
        GenerationResult next = session.Generate(prompt.Concat(Enumerable.Repeat(7, 50)).ToArray().AsMemory(), s_greedy with { MaxTokens = 300, IgnoreEndOfText = true }, cancellationToken);
        Assert.That(next.Tokens, Has.Count.EqualTo(300));
        Assert.That(next.Usage.CachedTokens, Is.InRange(64, 100));
        Assert.That((session.TokenCount, model.CachePages.Free), Is.EqualTo((449, 0)));
    }

    [Test]
    [CancelAfter(60_000)]
    public void What_a_branch_keeps_too_or_what_would_not_be_enough_is_not_given_up([Values] bool branched, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes });
        using KimiSession session = model.CreateSession();
        int[] prompt = [.. Enumerable.Range(0, 100)];
        session.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = 200, IgnoreEndOfText = true }, cancellationToken);
        using KimiSession other = branched ? session.Branch() : model.CreateSession();
        if (!branched)
        {
            other.Generate(Enumerable.Repeat(9, 100).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 }, cancellationToken);
        }

        Assert.That(
            () => session.Generate(prompt.Concat(Enumerable.Repeat(7, 320)).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 }, cancellationToken),
            Throws.TypeOf<ContextLengthException>().With.Message.Contains("open sessions"));
        Assert.That((session.TokenCount, other.TokenCount), Is.EqualTo((299, branched ? 299 : 100)));
    }

    [Test]
    [CancelAfter(60_000)]
    public void A_call_that_fails_after_all_leaves_its_session_what_both_begin_with(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes });
        using KimiSession other = model.CreateSession();
        other.Generate(new[] { 1, 2, 3 }.AsMemory(), s_greedy with { MaxTokens = 1 }, cancellationToken);
        using KimiSession session = model.CreateSession();
        int[] prompt = [.. Enumerable.Range(0, 100)];
        session.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = 200, IgnoreEndOfText = true }, cancellationToken);
        Assert.That(
            () => session.Generate(prompt.Concat(Enumerable.Repeat(7, 50)).ToArray().AsMemory(), s_greedy with { MaxTokens = 300, IgnoreEndOfText = true }, cancellationToken),
            Throws.TypeOf<ContextLengthException>().With.Message.Contains("is used up by this call and the open sessions"));
        Assert.That((other.TokenCount, session.TokenCount), Is.EqualTo((3, 64)));
        other.Dispose();
        Assert.That(session.Generate(prompt.AsMemory(), s_greedy with { MaxTokens = 400, IgnoreEndOfText = true }, cancellationToken).Usage.CachedTokens, Is.GreaterThanOrEqualTo(64));
    }

    /// <summary>Its pages are another call's by then, which must not fail for lack of them.</summary>
    [Test]
    public async Task A_call_that_is_cancelled_while_it_waits_for_pages_leaves_its_session_as_it_was()
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { KvCacheBytes = 8 * PageBytes });
        using KimiSession session = model.CreateSession();
        session.Generate(Enumerable.Repeat(8, 64).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 });
        using var source = new CancellationTokenSource();
        GenerationOptions most = s_greedy with { MaxTokens = 300, IgnoreEndOfText = true };
        Task? second = null;
        int answered = 0, waited = 0, tokens = 0;
        await foreach (GenerationUpdate update in model.GenerateAsync(Enumerable.Repeat(7, 100).ToArray().AsMemory(), most))
        {
            second ??= Task.Run(async () =>
            {
                await foreach (GenerationUpdate part in session.GenerateAsync(Enumerable.Repeat(8, 100).ToArray().AsMemory(), most, source.Token))
                {
                    Interlocked.Increment(ref answered);
                }
            });
            if (Volatile.Read(ref answered) > 0 && model.Activity is { RunningCalls: 1, WaitingCalls: 1 } && waited++ == 0)
            {
                await source.CancelAsync();
            }

            tokens = update.Result?.Tokens.Count ?? 0;
        }

        Assert.That(waited, Is.Positive, "the second call has given way");
        Assert.That(async () => await second!, Throws.InstanceOf<OperationCanceledException>());
        Assert.That((tokens, session.TokenCount), Is.EqualTo((300, 64)));
    }

    [Test]
    public void Nothing_in_place_of_messages_is_refused_before_anything_begins()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        IEnumerable<KimiMessage> none = null!;
        Assert.That(() => session.Generate(none), Throws.ArgumentNullException);
        Assert.That(() => session.GenerateAsync(none), Throws.ArgumentNullException);
        Assert.That(() => model.GenerateAsync(none), Throws.ArgumentNullException);
    }

    [Test]
    public void A_branch_takes_no_page_until_the_two_part()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        session.ApplicationData = new byte[] { 1, 2, 3 };
        int[] text = [.. Enumerable.Range(0, 200)];
        session.Generate(text.AsMemory(), s_greedy with { MaxTokens = 1 });
        int held = model.CachePages.Capacity - model.CachePages.Free;
        KimiSession[] branches = [.. Enumerable.Range(0, 5).Select(_ => session.Branch())];
        Assert.That(model.CachePages.Capacity - model.CachePages.Free, Is.EqualTo(held));
        Assert.That(branches.Select(b => b.TokenCount), Is.All.EqualTo(session.TokenCount));
        Assert.That(branches[0].ApplicationData.ToArray(), Is.EqualTo(new byte[] { 1, 2, 3 }));
        branches[0].ApplicationData = new byte[] { 4 };
        Assert.That(session.ApplicationData.Length, Is.EqualTo(3));
        for (int i = 0; i < branches.Length; i++)
        {
            GenerationResult result = branches[i].Generate(new[] { text, [1000 + i] }.SelectMany(t => t).ToArray().AsMemory(), s_greedy with { MaxTokens = 1 });
            Assert.That(result.Usage.CachedTokens, Is.EqualTo(200));
            Assert.That(() => model.CachePages.Capacity - model.CachePages.Free, Is.EqualTo(held + 1 + i).After(60_000, 5), "one page for the tokens that differ");
        }

        session.Dispose();
        Assert.That(branches[0].TokenCount, Is.EqualTo(201));
        Array.ForEach(branches, b => b.Dispose());
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    [Test]
    public void A_session_that_is_disposed_refuses_calls_and_one_of_a_model_that_is_disposed_too()
    {
        KimiModel model = KimiModel.OpenEmbedded();
        KimiSession gone = model.CreateSession();
        gone.Dispose();
        Assert.That(() => gone.Generate([KimiMessage.User("hi")]), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => gone.GenerateAsync([KimiMessage.User("hi")]), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => gone.Branch(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => gone.Save("never-written"), Throws.TypeOf<ObjectDisposedException>());
        KimiSession left = model.CreateSession();
        left.Generate([KimiMessage.User("hi")], s_greedy);
        model.Dispose();
        Assert.That(() => left.Generate([KimiMessage.User("hi")]), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => left.Save("never-written"), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => model.CreateSession(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => model.LoadSession("never-read"), Throws.TypeOf<ObjectDisposedException>());
        left.Dispose();
        Assert.That(Directory.GetFiles(".", "never-written*"), Is.Empty);
    }

    [Test]
    public void A_session_disposed_during_its_call_keeps_nothing()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        KimiSession session = model.CreateSession();
        Task<GenerationResult> call = Task.Run(() => session.Generate([KimiMessage.User("Tell me a story.")], s_greedy with { MaxTokens = 200, IgnoreEndOfText = true }));
        Assert.That(() => model.CachePages.Free, Is.LessThan(model.CachePages.Capacity).After(60_000, 1));
        session.Dispose();
        Assert.That(call.Result.Tokens, Has.Count.EqualTo(200));
        Assert.That(session.TokenCount, Is.Zero);
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));
    }

    /// <summary>At once, where Progress would post to other threads.</summary>
    private sealed class Immediate<T>(Action<T> told) : IProgress<T>
    {
        public void Report(T value) => told(value);
    }
}
