// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class PromptProgressTests
{
    private static readonly GenerationOptions s_short = new() { MaxTokens = 3, IgnoreEndOfText = true };

    [Test]
    public void A_prompt_is_told_from_what_is_cached_to_its_end_and_never_backwards([Values] bool streamed)
    {
        using KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { PrefillChunk = 64 });
        int[] prompt = [.. Enumerable.Range(0, 700).Select(i => 10 + (i * 7 % 200))];
        IReadOnlyList<PromptProgress> first = Run(model, prompt, streamed);
        Assert.That((first[0], first[^1]), Is.EqualTo((new PromptProgress(0, 0, 700), new PromptProgress(700, 0, 700))));
        Assert.That(first.Select(p => p.Tokens), Is.Ordered);

        // The last token of a prompt is always computed.
        IReadOnlyList<PromptProgress> second = Run(model, prompt, streamed);
        Assert.That(second[0].Tokens, Is.EqualTo(second[0].CachedTokens).And.InRange(600, 699));
        Assert.That(second[^1].Tokens, Is.EqualTo(700));
    }

    /// <summary>A call that gave its pages to older ones goes on from fewer tokens than it had, and perhaps from fewer than it found.</summary>
    [Test]
    public void What_is_computed_once_more_is_told_as_nothing_new()
    {
        var told = new List<PromptProgress>();
        var reporter = new PromptReporter(new Listener(told.Add), 2000);
        foreach (int tokens in new[] { 1200, 700, 900, 1300, 600, 2000, 700 })
        {
            reporter.Note(tokens, cached: 1000);
            Thread.Sleep(120);
        }

        Assert.That(told.Select(p => p.Tokens), Is.EqualTo(new[] { 1200, 1200, 1200, 1300, 1300, 2000 }));
        told.Clear();
        new PromptReporter(new Listener(told.Add), 2000).Note(700, cached: 1000);
        Assert.That(told, Is.EqualTo(new[] { new PromptProgress(1000, 1000, 2000) }));
    }

    [Test]
    public void Nobody_is_told_of_the_answer()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        var told = new List<PromptProgress>();
        model.Generate("Who are you?", new GenerationOptions { MaxTokens = 40, IgnoreEndOfText = true, PromptProgress = new Listener(told.Add) });
        Assert.That(told.Count(p => p.Tokens == p.TotalTokens), Is.EqualTo(1));
        Assert.That(told[^1].Tokens, Is.EqualTo(told[^1].TotalTokens));
    }

    [Test]
    public async Task What_a_listener_throws_ends_its_call_alone()
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Task<GenerationResult> other = Task.Run(() => model.Generate("Tell me a story.", new GenerationOptions { MaxTokens = 200, IgnoreEndOfText = true }));
        int told = 0;
        Assert.That(
            () => model.Generate("Who are you?", s_short with { PromptProgress = new Listener(_ => throw new InvalidOperationException($"heard {++told}")) }),
            Throws.InvalidOperationException.With.Message.EqualTo("heard 1"));
        Assert.That((await other).Tokens, Has.Count.EqualTo(200));
        Assert.That(model.Generate("Who are you?", s_short).Tokens, Has.Count.EqualTo(3));
    }

    /// <summary>Nobody has cancelled the call's own token.</summary>
    [Test]
    public async Task A_listener_that_was_cancelled_itself_says_so([Values] bool streamed)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using var source = new CancellationTokenSource();
        source.Cancel();
        GenerationOptions options = s_short with { PromptProgress = new Listener(_ => source.Token.ThrowIfCancellationRequested()) };
        OperationCanceledException? error = await Assert.CatchAsync<OperationCanceledException>(async () =>
        {
            if (streamed)
            {
                await foreach (GenerationUpdate _ in model.GenerateAsync("Who are you?", options))
                {
                }
            }
            else
            {
                model.Generate("Who are you?", options);
            }
        });
        Assert.That(error?.CancellationToken, Is.EqualTo(source.Token));
        Assert.That(model.Generate("Who are you?", s_short).Tokens, Has.Count.EqualTo(3));
    }

    /// <summary>The thread that reports is the one whose end a disposal waits for.</summary>
    [Test]
    [CancelAfter(60_000)]
    public void A_model_is_not_disposed_of_by_what_it_calls(CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        Assert.That(
            () => Task.Run(() => model.Generate("Who are you?", s_short with { PromptProgress = new Listener(_ => model.Dispose()) }), cancellationToken).WaitAsync(cancellationToken),
            Throws.InvalidOperationException.With.Message.Contains("PromptProgress"));
        Assert.That(model.Generate("Who are you?", s_short, cancellationToken).Tokens, Has.Count.EqualTo(3));
    }

    /// <summary>It is the thread that would do what they wait for.</summary>
    [TestCase("Generate")]
    [TestCase("Generate of a session")]
    [TestCase("Save")]
    [TestCase("LoadSession")]
    [TestCase("MeasureMemoryBandwidth")]
    [CancelAfter(60_000)]
    public async Task A_model_is_not_waited_for_by_what_it_calls(string what, CancellationToken cancellationToken)
    {
        // Not disposed of where this fails, since its thread would not end then. Full, which is no reason to tell the call to try again.
        KimiModel model = KimiModel.OpenEmbedded(new KimiModelOptions { Scheduling = new SchedulingOptions { MaxRunning = 1, MaxWaiting = 0 } });
        KimiSession session = model.CreateSession();
        string path = Path.Combine(Path.GetTempPath(), $"kimicpu-{Guid.NewGuid():N}");
        Action wait = what switch
        {
            "Generate" => () => model.Generate("Who are you?", s_short),
            "Generate of a session" => () => session.Generate(new[] { 1, 2, 3 }, s_short),
            "Save" => () => session.Save(path),
            "LoadSession" => () => model.LoadSession(path),
            _ => () => model.MeasureMemoryBandwidth(),
        };
        Task<GenerationResult> call = Task.Run(() => model.Generate("Who are you?", s_short with { PromptProgress = new Listener(_ => wait()) }), cancellationToken);
        Assert.That(async () => await call.WaitAsync(cancellationToken), Throws.InvalidOperationException.With.Message.Contains("PromptProgress"));
        Assert.That(model.Generate("Who are you?", s_short, cancellationToken).Tokens, Has.Count.EqualTo(3));
        Assert.That(() => model.Activity.RunningCalls + model.Activity.WaitingCalls, Is.Zero.After(60_000, 10), "nothing was left behind");
        await Task.Run(model.Dispose, cancellationToken);
    }

    private static List<PromptProgress> Run(KimiModel model, int[] prompt, bool streamed)
    {
        var told = new List<PromptProgress>();
        GenerationOptions options = s_short with { PromptProgress = new Listener(told.Add) };
        if (streamed)
        {
            Assert.That(model.GenerateAsync(prompt, options).ToBlockingEnumerable().Last().Result!.Tokens, Has.Count.EqualTo(3));
        }
        else
        {
            model.Generate(prompt, options);
        }

        return told;
    }

    /// <summary>At once, where Progress would post to other threads.</summary>
    private sealed class Listener(Action<PromptProgress> told) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value) => told(value);
    }
}
