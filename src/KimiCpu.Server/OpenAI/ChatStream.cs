// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>The events of a streamed <c>/v1/chat/completions</c>.</summary>
/// <param name="call">Whom it goes to.</param>
/// <param name="writer">Writes the pieces.</param>
/// <param name="answers">What is streamed.</param>
/// <param name="usage">Whether a last piece says what it cost.</param>
internal sealed class ChatStream(ServerCall call, ChatWriter writer, RunningAnswers answers, bool usage)
{
    /// <summary>Ends every stream, failed ones too.</summary>
    public static SseItem<string> Done { get; } = new("[DONE]");

    public IAsyncEnumerable<SseItem<string>> EventsAsync() => PiecesAsync().EndingWith(
        e => [new(JsonText.Of(call.Dialect.Error(call.ErrorOf(e), call.Id))), Done], () => call.IsGone);

    private async IAsyncEnumerable<SseItem<string>> PiecesAsync()
    {
        int total = answers.Request.Total;
        for (int i = 0; i < total; i++)
        {
            yield return Event(writer.Piece(i, new JsonObject { ["role"] = "assistant", ["content"] = "" }));
        }

        var results = new GenerationResult[total];
        ContentTokens[] tokens = [.. results.Select(_ => new ContentTokens(answers.Model.Tokenizer, answers.Request.Options.StopSequences))];
        await foreach ((int choice, GenerationUpdate update) in answers.PiecesAsync().ConfigureAwait(false))
        {
            foreach (JsonObject piece in Pieces(choice, update, tokens[choice]))
            {
                yield return Event(piece);
            }

            results[choice] = update.Result ?? results[choice];
        }

        Usage cost = Usage.Of(answers.Request, results).Logged(call);
        if (usage)
        {
            yield return new SseItem<string>(JsonText.Of(writer.Cost(cost)));
        }

        yield return Done;
    }

    private IEnumerable<JsonObject> Pieces(int choice, GenerationUpdate update, ContentTokens tokens)
    {
        if (update.Reasoning.Length > 0)
        {
            yield return writer.Piece(choice, new JsonObject { ["reasoning_content"] = update.Reasoning });
        }

        IReadOnlyList<TokenLogProbability> content = tokens.Of(update);
        if (update.Text.Length > 0 || content.Count > 0)
        {
            yield return writer.Piece(choice, new JsonObject { ["content"] = update.Text }, content);
        }

        foreach (ToolCallPiece piece in update.ToolCalls)
        {
            if (Delta(piece) is { } delta)
            {
                yield return writer.Piece(choice, new JsonObject { ["tool_calls"] = new JsonArray(delta) });
            }
        }

        if (update.Result is { } result)
        {
            yield return writer.Piece(choice, [], reason: result.FinishReason);
        }
    }

    private static JsonObject? Delta(ToolCallPiece piece) => piece switch
    {
        ToolCallBegun begun => new JsonObject
        {
            ["index"] = begun.Index,
            ["id"] = begun.Id,
            ["type"] = "function",
            ["function"] = new JsonObject { ["name"] = begun.Name, ["arguments"] = "" },
        },
        ToolCallArguments { Text.Length: > 0 } arguments => new JsonObject
        {
            ["index"] = arguments.Index,
            ["function"] = new JsonObject { ["arguments"] = arguments.Text },
        },
        _ => null,
    };

    private SseItem<string> Event(JsonObject piece)
    {
        if (usage)
        {
            piece["usage"] = null;
        }

        return new SseItem<string>(JsonText.Of(piece));
    }
}
