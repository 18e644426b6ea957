// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using KimiCpu.Generation;

namespace KimiCpu.Cli.Bench;

/// <summary>So many answers at once.</summary>
/// <param name="Calls">At once.</param>
/// <param name="Decode">Tokens a second of all answers together, from when the last one has begun until the first one ends.</param>
/// <param name="Gap">Longest time between two tokens of one answer meanwhile.</param>
/// <param name="MixedDecode">Tokens a second of all answers together while a prompt enters.</param>
/// <param name="MixedGap">Longest time between two tokens of one answer meanwhile.</param>
/// <param name="Prompt">Tokens a second of that prompt.</param>
internal sealed record ConcurrencyResult(int Calls, double Decode, TimeSpan Gap, double MixedDecode, TimeSpan MixedGap, double Prompt);

/// <summary>Answers at once through the whole library, of random tokens, alone and while a long prompt enters.</summary>
internal sealed class ConcurrencyBench(IKimiModel model, int tokens, int promptTokens)
{
    private const int ShortPrompt = 32;

    private readonly Random _random = new(1);

    /// <param name="tokens">Of each answer that are measured.</param>
    /// <param name="context">Tokens that the model has room for.</param>
    /// <exception cref="FormatException">The answers would reach the end of the context first.</exception>
    public static void RequireRoom(int tokens, int context)
    {
        if (tokens > context - ShortPrompt)
        {
            throw TooMany(tokens, context);
        }
    }

    /// <exception cref="FormatException">The answers would reach the end of the context first.</exception>
    public async Task<ConcurrencyResult> Run(int calls, CancellationToken cancellationToken)
    {
        RequireRoom(tokens, model.Info.ContextLength);

        // Answers that outlast what is measured; all of it happens after the last of them has begun.
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var answers = new List<Answer>();
        for (int i = 0; i < calls; i++)
        {
            answers.Add(new Answer(model, Tokens(ShortPrompt), source.Token));
        }

        try
        {
            await Task.WhenAll(answers.Select(a => a.Begun)).ConfigureAwait(false);
            (double decode, TimeSpan gap) = await Measure(answers, () => Grown(answers, cancellationToken)).ConfigureAwait(false);
            double prompt = 0;
            (double mixed, TimeSpan mixedGap) = promptTokens == 0 ? default : await Measure(answers, async () =>
            {
                GenerationResult entered = await Task.Run(() => model.Generate(Tokens(promptTokens), Options(1), cancellationToken), cancellationToken).ConfigureAwait(false);
                prompt = entered.Timings.PrefillTokensPerSecond;
            }).ConfigureAwait(false);
            return new ConcurrencyResult(calls, decode, gap, mixed, mixedGap, prompt);
        }
        finally
        {
            await source.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(answers.Select(a => a.Ended)).ConfigureAwait(false);
        }
    }

    private static GenerationOptions Options(int? tokens) => new() { Temperature = 0, MaxTokens = tokens, IgnoreEndOfText = true };

    private static async Task<(double Rate, TimeSpan Gap)> Measure(List<Answer> answers, Func<Task> during)
    {
        int before = answers.Sum(a => a.Count);
        answers.ForEach(a => a.Restart());
        long start = Stopwatch.GetTimestamp();
        await during().ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        return ((answers.Sum(a => a.Count) - before) / seconds, answers.Max(a => a.Longest));
    }

    private async Task Grown(List<Answer> answers, CancellationToken cancellationToken)
    {
        int[] ends = [.. answers.Select(a => a.Count + tokens)];
        while (answers.Where((a, i) => a.Count < ends[i]).Any())
        {
            // Of one that has ended the count is the last.
            if (answers.Where((a, i) => a.Ended.IsCompleted && a.Count < ends[i]).FirstOrDefault() is { } ended)
            {
                await ended.Ended.ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
                throw TooMany(tokens, model.Info.ContextLength);
            }

            await Task.Delay(5, cancellationToken).ConfigureAwait(false);
        }
    }

    private static FormatException TooMany(int tokens, int context) => new(FormattableString.Invariant(
        $"--decode {tokens}: an answer comes to the end of the model's context of {context:N0} tokens before it is measured. It begins behind a prompt of {ShortPrompt} and goes on while the others begin; take fewer tokens."));

    private ReadOnlyMemory<int> Tokens(int count) => Enumerable.Range(0, count).Select(_ => _random.Next(model.Info.VocabularySize)).ToArray();

    /// <summary>One answer, whose tokens' times are noted as they come.</summary>
    private sealed class Answer
    {
        private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private long _last;
        private long _longest;
        private int _count;

        public Answer(IKimiModel model, ReadOnlyMemory<int> prompt, CancellationToken cancellationToken) =>
            Ended = Task.Run(() => Read(model, prompt, cancellationToken), CancellationToken.None);

        public Task Begun => _begun.Task;

        public Task Ended { get; }

        public int Count => Volatile.Read(ref _count);

        public TimeSpan Longest => Stopwatch.GetElapsedTime(0, Volatile.Read(ref _longest));

        public void Restart() => Volatile.Write(ref _longest, 0);

        private async Task Read(IKimiModel model, ReadOnlyMemory<int> prompt, CancellationToken cancellationToken)
        {
            try
            {
                await foreach (GenerationUpdate update in model.GenerateAsync(prompt, Options(null), cancellationToken).ConfigureAwait(false))
                {
                    long now = Stopwatch.GetTimestamp();
                    Volatile.Write(ref _longest, Math.Max(_longest, _last == 0 ? 0 : now - _last));
                    _last = now;
                    Volatile.Write(ref _count, _count + update.Tokens.Count);
                    _begun.TrySetResult();
                }
            }
            catch (OperationCanceledException)
            {
                // Measured enough, or the user ends it.
                _begun.TrySetCanceled(CancellationToken.None);
            }
            catch (Exception e)
            {
                _begun.TrySetException(e);
                throw;
            }
        }
    }
}
