// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;

namespace KimiCpu.Tests.Generation;

/// <summary>When who cancels hears of it, and what becomes of the step that is under way.</summary>
[TestFixture]
internal sealed class CancelledCallTests
{
    private static readonly GenerationOptions s_endless = new() { Temperature = 0, IgnoreEndOfText = true, LogProbabilities = true };
    private static readonly int[] s_leaving = [.. Enumerable.Range(0, 70).Select(i => i * 7 % 500)];
    private static readonly int[] s_staying = [.. Enumerable.Range(0, 100).Select(i => i * 13 % 500)];

    /// <summary>A step may take minutes where a long prompt's experts come from a drive. Its other calls go on with it undisturbed.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task Who_cancels_waits_for_no_step_that_others_need([Values] bool streamed, [Values] bool runs, CancellationToken cancellationToken)
    {
        GenerationOptions options = s_endless with { MaxTokens = 5 };
        using KimiModel model = KimiModel.OpenEmbedded();
        using var source = new CancellationTokenSource();
        using var step = new HeldStep(cancellationToken);
        Task? leaving = runs ? Begin() : null;
        Assert.That(() => model.Activity.RunningCalls, Is.EqualTo(runs ? 1 : 0).After(30_000, 5));
        Task<GenerationResult> staying = Task.Run(() => model.Generate(s_staying, options with { PromptProgress = step }, CancellationToken.None), cancellationToken);
        step.WaitFor();
        try
        {
            leaving ??= Begin();
            Assert.That(() => model.Activity.WaitingCalls, Is.EqualTo(runs ? 0 : 1).After(30_000, 5));
            source.Cancel();
            await Assert.ThatAsync(
                () => leaving.WaitAsync(cancellationToken),
                Throws.InstanceOf<OperationCanceledException>().With.Property(nameof(OperationCanceledException.CancellationToken)).EqualTo(source.Token));
            Assert.That(staying.IsCompleted, Is.False);
        }
        finally
        {
            step.LetGo();
        }

        GenerationResult result = await staying.WaitAsync(cancellationToken);
        using KimiModel other = KimiModel.OpenEmbedded();
        GenerationResult expected = other.Generate(s_staying, options, cancellationToken);
        Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
        Assert.That(result.LogProbabilities.Select(l => l.LogProbability), Is.EqualTo(expected.LogProbabilities.Select(l => l.LogProbability)), "to the bit");
        Assert.That(() => model.CachePages.Free, Is.EqualTo(model.CachePages.Capacity).After(60_000, 5));

        Task Begin() => Task.Run(
            async () =>
            {
                if (!streamed)
                {
                    model.Generate(s_leaving, s_endless, source.Token);
                    return;
                }

                await foreach (GenerationUpdate update in model.GenerateAsync(s_leaving, s_endless, source.Token))
                {
                }
            },
            CancellationToken.None);
    }

    /// <summary>The step that the session's tokens come from is waited for, or its next call would not find them.</summary>
    [Test]
    [CancelAfter(60_000)]
    public async Task A_session_has_its_tokens_when_who_cancels_hears_of_it([Values] bool streamed, CancellationToken cancellationToken)
    {
        using KimiModel model = KimiModel.OpenEmbedded();
        using KimiSession session = model.CreateSession();
        using var source = new CancellationTokenSource();
        using var step = new HeldStep(cancellationToken);
        Task leaving = Task.Run(
            async () =>
            {
                if (!streamed)
                {
                    session.Generate(s_leaving, s_endless, source.Token);
                    return;
                }

                await foreach (GenerationUpdate update in session.GenerateAsync(s_leaving, s_endless, source.Token))
                {
                }
            },
            CancellationToken.None);
        Assert.That(() => model.Activity.RunningCalls, Is.EqualTo(1).After(30_000, 5));
        Task<GenerationResult> staying = Task.Run(() => model.Generate(s_staying, s_endless with { MaxTokens = 1, PromptProgress = step }, CancellationToken.None), cancellationToken);
        step.WaitFor();
        source.Cancel();
        Assert.That((session.TokenCount, leaving.IsCompleted), Is.EqualTo((0, false)));
        step.LetGo();
        await Assert.ThatAsync(() => leaving.WaitAsync(cancellationToken), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(session.TokenCount, Is.Positive);
        await staying;
    }

    /// <summary>Holds the step in which a prompt begins.</summary>
    private sealed class HeldStep(CancellationToken cancellationToken) : IProgress<PromptProgress>, IDisposable
    {
        private readonly ManualResetEventSlim _held = new();
        private readonly ManualResetEventSlim _free = new();

        public void Report(PromptProgress value)
        {
            _held.Set();
            _free.Wait(cancellationToken);
        }

        public void WaitFor() => _held.Wait(cancellationToken);

        public void LetGo() => _free.Set();

        public void Dispose()
        {
            _held.Dispose();
            _free.Dispose();
        }
    }
}
