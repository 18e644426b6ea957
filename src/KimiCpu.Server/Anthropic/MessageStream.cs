// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>The events of a streamed <c>/v1/messages</c>: blocks of content that begin, grow and end, one after the other.</summary>
/// <param name="call">Whom it goes to.</param>
/// <param name="writer">Writes the message around the blocks.</param>
/// <param name="answers">What is streamed.</param>
/// <param name="promptTokens">Tokens of the prompt.</param>
internal sealed class MessageStream(ServerCall call, MessageWriter writer, RunningAnswers answers, int promptTokens)
{
    private const string Thinking = "thinking";
    private const string Text = "text";
    private const string ToolUse = "tool_use";

    /// <summary>Says that the connection lives, as the interface has it.</summary>
    public static SseItem<string> Ping { get; } = Event(new JsonObject { ["type"] = "ping" });

    private int _index = -1;
    private string? _open;

    public IAsyncEnumerable<SseItem<string>> EventsAsync() => MessageAsync().EndingWith(
        e => [Event(call.Dialect.Error(call.ErrorOf(e), call.Id))], () => call.IsGone);

    private async IAsyncEnumerable<SseItem<string>> MessageAsync()
    {
        yield return Event(new JsonObject { ["type"] = "message_start", ["message"] = writer.Begin(promptTokens) });
        yield return Ping;
        await foreach ((_, GenerationUpdate update) in answers.PiecesAsync().ConfigureAwait(false))
        {
            foreach (JsonObject block in Blocks(update))
            {
                yield return Event(block);
            }
        }

        yield return Event(new JsonObject { ["type"] = "message_stop" });
    }

    private IEnumerable<JsonObject> Blocks(GenerationUpdate update)
    {
        IEnumerable<JsonObject> blocks = [];
        if (update.Reasoning.Length > 0)
        {
            blocks = [.. blocks, .. Grow(Thinking, new JsonObject { ["type"] = Thinking, [Thinking] = "", ["signature"] = "" }, new JsonObject { ["type"] = "thinking_delta", [Thinking] = update.Reasoning })];
        }

        if (update.Text.Length > 0)
        {
            blocks = [.. blocks, .. Grow(Text, new JsonObject { ["type"] = Text, [Text] = "" }, new JsonObject { ["type"] = "text_delta", [Text] = update.Text })];
        }

        foreach (ToolCallPiece piece in update.ToolCalls)
        {
            blocks = [.. blocks, .. Piece(piece)];
        }

        return update.Result is { } result ? [.. blocks, .. Close(), writer.End(result, call)] : blocks;
    }

    private List<JsonObject> Piece(ToolCallPiece piece) => piece switch
    {
        ToolCallBegun begun => [.. Close(), Open(ToolUse, MessageWriter.ToolUse(begun.Name, new JsonObject()))],
        ToolCallArguments { Text.Length: > 0 } arguments => [Delta(new JsonObject { ["type"] = "input_json_delta", ["partial_json"] = arguments.Text })],
        ToolCallEnded => Close(),
        _ => [],
    };

    /// <summary>More of a block of a kind, which begins where it is not open.</summary>
    private List<JsonObject> Grow(string kind, JsonObject empty, JsonObject delta)
    {
        List<JsonObject> events = _open == kind ? [] : [.. Close(), Open(kind, empty)];
        events.Add(Delta(delta));
        return events;
    }

    private JsonObject Open(string kind, JsonObject empty)
    {
        _open = kind;
        _index++;
        return new JsonObject { ["type"] = "content_block_start", ["index"] = _index, ["content_block"] = empty };
    }

    private JsonObject Delta(JsonObject delta) => new() { ["type"] = "content_block_delta", ["index"] = _index, ["delta"] = delta };

    private List<JsonObject> Close()
    {
        List<JsonObject> events = [];
        if (_open == Thinking)
        {
            events.Add(Delta(new JsonObject { ["type"] = "signature_delta", ["signature"] = MessageWriter.Signature }));
        }

        if (_open is not null)
        {
            events.Add(new JsonObject { ["type"] = "content_block_stop", ["index"] = _index });
        }

        _open = null;
        return events;
    }

    private static SseItem<string> Event(JsonObject body) => new(JsonText.Of(body), (string)body["type"]!);
}
