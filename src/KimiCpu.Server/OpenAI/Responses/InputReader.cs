// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Reads <c>instructions</c> and <c>input</c>, in which what the model said comes back in several items: reasoning, text and calls.</summary>
/// <param name="maxItems">Most of them.</param>
internal sealed class InputReader(int maxItems)
{
    private static readonly ContentText s_content = new("input_text", "output_text", "text", "reasoning_text", "summary_text");

    private readonly Conversation _conversation = new();

    public IReadOnlyList<KimiMessage> Read(JsonFields request)
    {
        if (BillingLine.TakenFrom(request.Text("instructions") ?? "") is { Length: > 0 } instructions)
        {
            _conversation.Add(KimiMessage.System(instructions));
        }

        if (request.Get("input") is { ValueKind: JsonValueKind.String } text)
        {
            _conversation.Add(KimiMessage.User(text.GetString()!));
            return _conversation.End();
        }

        IReadOnlyList<(JsonElement Element, string Path)> items = request.Items("input", maxItems);
        if (items.Count == 0)
        {
            throw request.Invalid("input", "a text, or at least one item");
        }

        foreach ((JsonElement element, string path) in items)
        {
            ReadItem(new JsonFields(element, path));
        }

        return _conversation.End();
    }

    private void ReadItem(JsonFields item)
    {
        switch (item.Text("type"))
        {
            case "message":
            case null when item.Has("role"):
                ReadMessage(item);
                break;
            case "reasoning":
                ReadReasoning(item);
                break;
            case "function_call":
                ReadCall(item);
                break;
            case "function_call_output":
                _conversation.AddResult(item, "call_id", s_content.Read(item, "output", isResult: true));
                break;
            case null:
                throw item.Missing("type");
            case "item_reference":
                throw item.Unsupported("type", "nothing is stored here; send the item itself in place of 'item_reference'.");
            case { } other:
                throw item.Unsupported("type", $"items are message, reasoning, function_call and function_call_output; found '{other}'.");
        }
    }

    private void ReadMessage(JsonFields item)
    {
        string content = s_content.Read(item, "content");
        _conversation.Add(item.RequiredText("role") switch
        {
            "user" => KimiMessage.User(content),
            "system" or "developer" => KimiMessage.System(content),
            "assistant" => KimiMessage.Assistant(content),
            _ => throw item.Invalid("role", "user, assistant, system or developer"),
        });
    }

    private void ReadReasoning(JsonFields item)
    {
        // Of other providers there is a summary at most; what they encrypted nobody here can read.
        string thought = item.Has("content") ? s_content.Read(item, "content") : "";
        thought = thought.Length == 0 && item.Has("summary") ? s_content.Read(item, "summary") : thought;
        if (thought.Length > 0)
        {
            _conversation.Add(KimiMessage.Assistant("", thought));
        }
    }

    private void ReadCall(JsonFields item)
    {
        string arguments = item.Text("arguments") is { Length: > 0 } given ? given : "{}";
        _conversation.Add(KimiMessage.Assistant("") with { ToolCalls = [new KimiToolCall(item.RequiredText("call_id"), item.RequiredText("name"), arguments)] });
    }
}
