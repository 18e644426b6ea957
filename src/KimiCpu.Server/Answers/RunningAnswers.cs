// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Threading.Channels;
using KimiCpu.Generation;

namespace KimiCpu.Server.Answers;

/// <summary>A piece of one of the answers to a request.</summary>
/// <param name="Choice">Which answer, from 0: all of the first prompt, then all of the next.</param>
/// <param name="Update">The piece.</param>
internal sealed record AnswerPiece(int Choice, GenerationUpdate Update);

/// <summary>The answers to one request, as they are generated. Enumerate once; disposing ends those that still run.</summary>
internal sealed class RunningAnswers : IDisposable
{
    private readonly CancellationTokenSource _end;
    private readonly List<IAsyncEnumerable<GenerationUpdate>> _streams = [];

    /// <param name="model">Answers.</param>
    /// <param name="request">What is asked.</param>
    /// <param name="maxTokens">Most tokens of an answer; null for no limit of the server's.</param>
    /// <param name="cancellationToken">Ends all of them.</param>
    public RunningAnswers(IKimiModel model, AnswerRequest request, int? maxTokens, CancellationToken cancellationToken)
    {
        (Model, Request) = (model, request);
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            for (int i = 0; i < request.Total; i++)
            {
                GenerationOptions options = request.OptionsOf(i, model, maxTokens);
                _streams.Add(request.Messages is { } messages
                    ? model.GenerateAsync(messages, options, _end.Token)
                    : model.GenerateAsync(request.Prompts[i / request.Choices].AsMemory(), options, _end.Token));
            }
        }
        catch
        {
            _end.Dispose();
            throw;
        }
    }

    public IKimiModel Model { get; }

    public AnswerRequest Request { get; }

    /// <summary>The pieces of all answers, as they come.</summary>
    public async IAsyncEnumerable<AnswerPiece> PiecesAsync()
    {
        if (_streams.Count == 1)
        {
            await foreach (GenerationUpdate update in _streams[0].ConfigureAwait(false))
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

    public void Dispose()
    {
        _end.Cancel();
        _end.Dispose();
    }

    private async Task PumpAllAsync(ChannelWriter<AnswerPiece> pieces)
    {
        Exception? failure = null;
        try
        {
            await Task.WhenAll(_streams.Select(PumpAsync)).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            failure = e;
        }

        pieces.TryComplete(failure);

        async Task PumpAsync(IAsyncEnumerable<GenerationUpdate> stream, int choice)
        {
            try
            {
                await foreach (GenerationUpdate update in stream.ConfigureAwait(false))
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
