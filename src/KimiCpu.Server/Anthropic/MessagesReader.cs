// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>Reads <c>system</c> and <c>messages</c>. A message of the user with results of tools becomes several.</summary>
/// <param name="maxMessages">Most of them.</param>
internal sealed class MessagesReader(int maxMessages)
{
    private const int MostBlocks = 4096;

    private readonly Conversation _conversation = new();

    public IReadOnlyList<KimiMessage> Read(JsonFields request)
    {
        if (request.Has("system") && SystemOf(request) is { Length: > 0 } system)
        {
            _conversation.Add(KimiMessage.System(system));
        }

        IReadOnlyList<(JsonElement Element, string Path)> messages = request.Items("messages", maxMessages);
        if (messages.Count == 0)
        {
            throw request.Invalid("messages", "at least one message");
        }

        foreach ((JsonElement element, string path) in messages)
        {
            var message = new JsonFields(element, path);
            switch (message.RequiredText("role"))
            {
                case "user":
                    ReadUser(message);
                    break;
                case "assistant":
                    ReadAssistant(message);
                    break;
                case "system":
                    _conversation.Add(KimiMessage.System(TextOf(message, "content")));
                    break;
                default:
                    throw message.Invalid("role", "user or assistant");
            }
        }

        IReadOnlyList<KimiMessage> conversation = _conversation.End();
        return conversation[^1].Role == KimiRole.Assistant
            ? throw new RequestException(StatusCodes.Status400BadRequest, "The last message is one of the assistant; answers cannot be begun for the model.", "messages", "invalid_value")
            : conversation;
    }

    private void ReadUser(JsonFields message)
    {
        if (message.Get("content") is { ValueKind: JsonValueKind.String } text)
        {
            _conversation.Add(KimiMessage.User(text.GetString()!));
            return;
        }

        var said = new StringBuilder();
        bool hasResult = false;
        foreach (JsonFields block in Blocks(message, "content"))
        {
            if (block.RequiredText("type") == "tool_result")
            {
                hasResult = true;
                ReadResult(block);
            }
            else
            {
                said.Append(PlainText(block));
            }
        }

        if (said.Length > 0 || !hasResult)
        {
            _conversation.Add(KimiMessage.User(said.ToString()));
        }
    }

    private void ReadResult(JsonFields block)
    {
        string result = !block.Has("content") ? ""
            : block.Get("content") is { ValueKind: JsonValueKind.String } text ? text.GetString()!
            : ResultText.Of(Blocks(block, "content"));
        _conversation.AddResult(block, "tool_use_id", block.Flag("is_error") == true ? $"Error: {result}" : result);
    }

    private void ReadAssistant(JsonFields message)
    {
        if (message.Get("content") is { ValueKind: JsonValueKind.String } text)
        {
            _conversation.Add(KimiMessage.Assistant(text.GetString()!));
            return;
        }

        var said = new StringBuilder();
        var thought = new StringBuilder();
        var calls = new List<KimiToolCall>();
        foreach (JsonFields block in Blocks(message, "content"))
        {
            switch (block.RequiredText("type"))
            {
                case "thinking":
                    thought.Append(block.RequiredText("thinking"));
                    break;
                case "redacted_thinking":
                    // Of another provider; nobody here can read it.
                    break;
                case "tool_use":
                    calls.Add(new KimiToolCall(block.RequiredText("id"), block.RequiredText("name"), block.Fields("input") is { } input ? ToolCallText.Arguments(input.Element) : "{}"));
                    break;
                default:
                    said.Append(PlainText(block));
                    break;
            }
        }

        _conversation.Add(KimiMessage.Assistant(said.ToString(), thought.Length > 0 ? thought.ToString() : null) with { ToolCalls = calls });
    }

    private static IEnumerable<JsonFields> Blocks(JsonFields fields, string name) => fields.Has(name)
        ? fields.Items(name, MostBlocks).Select(b => new JsonFields(b.Element, b.Path))
        : throw fields.Missing(name);

    private static string SystemOf(JsonFields request) => string.Concat(TextsOf(request, "system").Select((text, i) => i == 0 ? BillingLine.TakenFrom(text) : text));

    private static string TextOf(JsonFields fields, string name) => string.Concat(TextsOf(fields, name));

    private static IEnumerable<string> TextsOf(JsonFields fields, string name) => fields.Get(name) is { ValueKind: JsonValueKind.String } text
        ? [text.GetString()!]
        : Blocks(fields, name).Select(PlainText);

    private static string PlainText(JsonFields block) => block.RequiredText("type") == "text"
        ? block.RequiredText("text")
        : throw block.Unsupported("type", $"the model reads text only; found '{block.Text("type")}'.");
}
