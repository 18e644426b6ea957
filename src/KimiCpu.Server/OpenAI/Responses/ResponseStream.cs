// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>The events of a streamed <c>/v1/responses</c>: items that begin, grow and end, one after the other, within a response that does.</summary>
/// <param name="call">Whom it goes to.</param>
/// <param name="writer">Writes the response around the items.</param>
/// <param name="items">Writes the items.</param>
/// <param name="answers">What is streamed.</param>
internal sealed class ResponseStream(ServerCall call, ResponseWriter writer, OutputItems items, RunningAnswers answers)
{
    private readonly ResponseEvents _events = new(writer);
    private readonly List<JsonObject> _output = [];
    private readonly ContentTokens _content = new(answers.Model.Tokenizer, answers.Request.Options.StopSequences);
    private readonly List<TokenLogProbability> _tokens = [];
    private OpenItem? _open;

    public IAsyncEnumerable<SseItem<string>> EventsAsync() => ResponseAsync().EndingWith(e => Failed(call.ErrorOf(e)), () => call.IsGone);

    private async IAsyncEnumerable<SseItem<string>> ResponseAsync()
    {
        const string Running = "in_progress";
        yield return _events.Begun("created");
        yield return _events.Begun(Running);

        // Some clients give up a stream that brings no event for a while, whatever comments come. Numbers are given here, where one event comes after the other. What fills a
        // pause agrees with what was sent before it, since some clients take a response in an event as all that there is of it; what comes next is being made meanwhile.
        OpenItem? open = null;
        var done = new List<JsonNode>();
        await foreach ((JsonObject Body, OpenItem? Open)? sent in BodiesAsync().FillingPauses<(JsonObject Body, OpenItem? Open)?>(call.KeepAlive, () => null).ConfigureAwait(false))
        {
            if (sent is not { } next)
            {
                yield return open is not null ? _events.Next(open.Nothing()) : done.Count > 0 ? _events.Next(ResponseEvents.Whole(Running, writer.Running(done))) : _events.Begun(Running);
                continue;
            }

            open = next.Open;
            if ((string?)next.Body["type"] == OpenItem.Done)
            {
                done.Add(next.Body["item"]!.DeepClone());
            }

            yield return _events.Next(next.Body);
        }
    }

    /// <summary>All that the answer brings, with the item that is open behind it. Many of its pieces bring nothing: white space between the arguments of a call, say, may go on without end.</summary>
    private async IAsyncEnumerable<(JsonObject Body, OpenItem? Open)?> BodiesAsync()
    {
        await foreach (AnswerPiece piece in answers.PiecesAsync().ConfigureAwait(false))
        {
            // There is no pause between those of one piece.
            foreach (JsonObject body in Events(piece.Update))
            {
                yield return (body, _open);
            }
        }
    }

    private IEnumerable<JsonObject> Events(GenerationUpdate update)
    {
        IEnumerable<JsonObject> events = [];
        _tokens.AddRange(_content.Of(update));
        if (update.Reasoning.Length > 0)
        {
            events = [.. events, .. Grow(items.ReasoningKind, update.Reasoning, [])];
        }

        if (update.Text.Length > 0)
        {
            events = [.. events, .. Grow(TextKind.Message, update.Text, [.. _tokens])];
            _tokens.Clear();
        }

        foreach (ToolCallPiece piece in update.ToolCalls)
        {
            events = [.. events, .. Piece(piece)];
        }

        return update.Result is { } result ? [.. events, .. End(result)] : events;
    }

    private List<JsonObject> Piece(ToolCallPiece piece) => piece switch
    {
        ToolCallBegun begun => [.. Close(OutputItems.Completed), .. Open(new OpenCall(_output.Count, begun))],
        ToolCallArguments { Text.Length: > 0 } arguments when _open is OpenCall open => [open.Grow(arguments.Text)],
        ToolCallEnded ended => Close(ended.IsComplete ? OutputItems.Completed : OutputItems.Incomplete),
        _ => [],
    };

    /// <summary>More of a text of a kind, which begins where it is not open.</summary>
    private List<JsonObject> Grow(TextKind kind, string text, IReadOnlyList<TokenLogProbability> tokens)
    {
        if (_open is OpenText open && open.Kind == kind)
        {
            return [open.Grow(text, tokens)];
        }

        List<JsonObject> events = Close(OutputItems.Completed);
        var begun = new OpenText(_output.Count, kind, items);
        return [.. events, .. Open(begun), begun.Grow(text, tokens)];
    }

    private IEnumerable<JsonObject> Open(OpenItem item)
    {
        _open = item;
        return item.Begin();
    }

    private List<JsonObject> Close(string status)
    {
        if (_open is not { } item)
        {
            return [];
        }

        if (item is OpenText { Kind: var kind } text && kind == TextKind.Message)
        {
            text.Account(_tokens);
            _tokens.Clear();
        }

        _open = null;
        _output.Add(item.Item(status));
        return [.. item.End(status)];
    }

    private List<JsonObject> End(GenerationResult result)
    {
        List<JsonObject> events = Close(OutputItems.StatusOf(result.FinishReason));
        JsonObject response = writer.End(result, _output, call);
        return [.. events, ResponseEvents.Whole((string)response["status"]!, response)];
    }

    private IReadOnlyList<SseItem<string>> Failed(RequestException error)
    {
        // What has been sent of it belongs to the response, whatever came in between.
        Close(OutputItems.Incomplete);
        return _events.Failed(error, _output);
    }
}
