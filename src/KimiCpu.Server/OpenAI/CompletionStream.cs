// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>The events of a streamed <c>/v1/completions</c>.</summary>
/// <param name="call">Whom it goes to.</param>
/// <param name="writer">Writes the pieces.</param>
/// <param name="answers">What is streamed.</param>
/// <param name="usage">Whether a last piece says what it cost.</param>
internal sealed class CompletionStream(ServerCall call, CompletionWriter writer, RunningAnswers answers, bool usage)
{
    public IAsyncEnumerable<SseItem<string>> EventsAsync() => PiecesAsync().EndingWith(
        e => [new(JsonText.Of(call.Dialect.Error(call.ErrorOf(e), call.Id))), ChatStream.Done], () => call.IsGone);

    private async IAsyncEnumerable<SseItem<string>> PiecesAsync()
    {
        var results = new GenerationResult[answers.Request.Total];
        ShownTokens[] tokens = [.. results.Select(_ => new ShownTokens(answers.Model.Tokenizer, answers.Request.Options.StopSequences))];
        for (int i = 0; i < results.Length; i++)
        {
            if (writer.Begin(i) is { Length: > 0 } prompt)
            {
                yield return Event(writer.Piece(i, prompt, [], null));
            }
        }

        await foreach ((int choice, GenerationUpdate update) in answers.PiecesAsync().ConfigureAwait(false))
        {
            IReadOnlyList<TokenLogProbability> shown = tokens[choice].Of(update.LogProbabilities, update.Text, update.Result);
            if (update.Text.Length > 0 || shown.Count > 0 || update.Result is not null)
            {
                yield return Event(writer.Piece(choice, update.Text, shown, update.Result?.FinishReason));
            }

            results[choice] = update.Result ?? results[choice];
        }

        Usage cost = Usage.Of(answers.Request, results).Logged(call);
        if (usage)
        {
            yield return new SseItem<string>(JsonText.Of(writer.Cost(cost)));
        }

        yield return ChatStream.Done;
    }

    private SseItem<string> Event(JsonObject piece)
    {
        if (usage)
        {
            piece["usage"] = null;
        }

        return new SseItem<string>(JsonText.Of(piece));
    }
}
