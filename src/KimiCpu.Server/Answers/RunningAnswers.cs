// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Threading.Channels;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;

namespace KimiCpu.Server.Answers;

/// <summary>A piece of one of the answers to a request.</summary>
/// <param name="Choice">Which answer, from 0: all of the first prompt, then all of the next.</param>
/// <param name="Update">The piece.</param>
internal sealed record AnswerPiece(int Choice, GenerationUpdate Update);

/// <summary>The answers to one request, as they are generated. Enumerate once; disposing ends those that still run and waits for no step of the model.</summary>
internal sealed class RunningAnswers : IAsyncDisposable
{
    private readonly AnswerMemory _memory;
    private readonly Action<int> _count;
    private readonly CancellationTokenSource _end;
    private readonly List<(IAsyncEnumerator<GenerationUpdate> Updates, Task<bool> First)> _streams = [];

    /// <param name="model">Answers.</param>
    /// <param name="request">What is asked.</param>
    /// <param name="memory">Keeps those that end.</param>
    /// <param name="cancellationToken">Ends all of them.</param>
    public RunningAnswers(IKimiModel model, AnswerRequest request, AnswerMemory memory, CancellationToken cancellationToken)
    {
        (Model, Request, _memory) = (model, request, memory);
        _count = tokens => PromptTokens = tokens;
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
    }

    public IKimiModel Model { get; }

    public AnswerRequest Request { get; }

    /// <summary>Tokens of the prompt, of several of the last one; null where they have not begun, or a model that stands before the real one keeps it to itself.</summary>
    public int? PromptTokens { get; private set; }

    /// <summary>Hands all of them to the model. Where its queue is full that shows here, while the request can still be refused.</summary>
    /// <param name="maxTokens">Most tokens of an answer; null for no limit of the server's.</param>
    public async Task BeginAsync(int? maxTokens)
    {
        // Answers to one prompt that are asked for alike are one call, prepared once, which each of them enumerates. Seeds that are given differ.
        (int Prompt, GenerationOptions Options, IAsyncEnumerable<GenerationUpdate> Updates)? asked = null;
        for (int i = 0; i < Request.Total; i++)
        {
            try
            {
                GenerationOptions options = Request.OptionsOf(i, Model, maxTokens).CountingPrompt(_count);
                int prompt = i / Request.Choices;
                if (asked is not { } known || known.Prompt != prompt || known.Options != options)
                {
                    asked = (prompt, options, Ask(prompt, options));
                }

                await BeginAsync(asked.Value.Updates).ConfigureAwait(false);
            }
            catch (Exception e) when (SaysThatModelIsLost(e))
            {
                throw ServedModel.Lost();
            }
        }
    }

    /// <summary>The pieces of all answers, as they come.</summary>
    public async IAsyncEnumerable<AnswerPiece> PiecesAsync()
    {
        if (_streams.Count == 1)
        {
            await foreach (GenerationUpdate update in UpdatesAsync(0).ConfigureAwait(false))
            {
                yield return new AnswerPiece(0, update);
            }

            yield break;
        }

        Channel<AnswerPiece> pieces = Channel.CreateUnbounded<AnswerPiece>(new UnboundedChannelOptions { SingleReader = true });
        Task all = PumpAllAsync(pieces.Writer);
        try
        {
            await foreach (AnswerPiece piece in pieces.Reader.ReadAllAsync().ConfigureAwait(false))
            {
                yield return piece;
            }
        }
        finally
        {
            await _end.CancelAsync().ConfigureAwait(false);
            await all.ConfigureAwait(false);
        }
    }

    /// <summary>All answers once they are whole.</summary>
    public async Task<GenerationResult[]> ResultsAsync()
    {
        var results = new GenerationResult[_streams.Count];
        await foreach (AnswerPiece piece in PiecesAsync().ConfigureAwait(false))
        {
            results[piece.Choice] = piece.Update.Result ?? results[piece.Choice];
        }

        return results;
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        foreach ((IAsyncEnumerator<GenerationUpdate> updates, Task<bool> first) in _streams)
        {
            // Whoever enumerated has heard of its failure.
            await ((Task)first).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await updates.DisposeAsync().ConfigureAwait(false);
        }

        _end.Dispose();
    }

    private async Task BeginAsync(IAsyncEnumerable<GenerationUpdate> answer)
    {
        IAsyncEnumerator<GenerationUpdate> updates = answer.GetAsyncEnumerator(CancellationToken.None);
        Task<bool> first = updates.MoveNextAsync().AsTask();
        _streams.Add((updates, first));
        if (first.IsFaulted)
        {
            await first.ConfigureAwait(false);
        }
    }

    /// <summary>The next move of an answer; a model that is lost is told as that.</summary>
    private async Task<bool> HearAsync(Task<bool> move)
    {
        try
        {
            return await move.ConfigureAwait(false);
        }
        catch (Exception e) when (SaysThatModelIsLost(e))
        {
            throw ServedModel.Lost();
        }
    }

    /// <summary>Every call that ends of that, or comes later, fails with the reason that the model gives from then on.</summary>
    private bool SaysThatModelIsLost(Exception e) => e.Message == Model.Activity.Failure;

    private IAsyncEnumerable<GenerationUpdate> Ask(int prompt, GenerationOptions options) => Request.Messages is { } messages
        ? Model.GenerateAsync(messages, options, _end.Token)
        : Model.GenerateAsync(Request.Prompts[prompt].AsMemory(), options, _end.Token);

    private async IAsyncEnumerable<GenerationUpdate> UpdatesAsync(int choice)
    {
        (IAsyncEnumerator<GenerationUpdate> updates, Task<bool> first) = _streams[choice];
        for (bool more = await HearAsync(first).ConfigureAwait(false); more; more = await HearAsync(updates.MoveNextAsync().AsTask()).ConfigureAwait(false))
        {
            if (updates.Current.Result is { } result)
            {
                // Before anybody can send it back.
                _memory.Keep(Request, result);
            }

            yield return updates.Current;
        }
    }

    private async Task PumpAllAsync(ChannelWriter<AnswerPiece> pieces)
    {
        Exception? failure = null;
        try
        {
            await Task.WhenAll(Enumerable.Range(0, _streams.Count).Select(PumpAsync)).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            failure = e;
        }

        pieces.TryComplete(failure);

        async Task PumpAsync(int choice)
        {
            try
            {
                await foreach (GenerationUpdate update in UpdatesAsync(choice).ConfigureAwait(false))
                {
                    pieces.TryWrite(new AnswerPiece(choice, update));
                }
            }
            catch
            {
                // The others' answers go to nobody any more.
                await _end.CancelAsync().ConfigureAwait(false);
                throw;
            }
        }
    }
}
