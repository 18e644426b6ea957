// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Reads <c>messages</c>. Calls with ids of other providers get those that the models are trained on.</summary>
/// <param name="maxMessages">Most of them.</param>
internal sealed class ChatMessageReader(int maxMessages)
{
    private static readonly ContentText s_content = new("text");

    private readonly Conversation _conversation = new();

    public IReadOnlyList<KimiMessage> Read(JsonFields request)
    {
        IReadOnlyList<(JsonElement Element, string Path)> messages = request.Items("messages", maxMessages);
        if (messages.Count == 0)
        {
            throw request.Invalid("messages", "at least one message");
        }

        foreach ((JsonElement element, string path) in messages)
        {
            ReadMessage(new JsonFields(element, path), isFirst: path == messages[0].Path);
        }

        return _conversation.End();
    }

    private void ReadMessage(JsonFields message, bool isFirst)
    {
        switch (message.RequiredText("role"))
        {
            case "system" or "developer":
                ReadSystem(message, isFirst);
                break;
            case "user":
                _conversation.Add(KimiMessage.User(s_content.Read(message, "content")) with { Name = NameOf(message) });
                break;
            case "assistant":
                _conversation.Add(Assistant(message), NameOf(message));
                break;
            case "tool":
                _conversation.AddResult(message, "tool_call_id", s_content.Read(message, "content", isResult: true));
                break;
            case "function":
                throw message.Unsupported("role", "use tools, and results with the role tool.");
            default:
                throw message.Invalid("role", "system, developer, user, assistant or tool");
        }
    }

    private void ReadSystem(JsonFields message, bool isFirst)
    {
        string said = s_content.Read(message, "content");
        string kept = isFirst ? BillingLine.TakenFrom(said) : said;
        if (kept.Length > 0 || said.Length == 0)
        {
            _conversation.Add(KimiMessage.System(kept) with { Name = NameOf(message) });
        }
    }

    private static KimiMessage Assistant(JsonFields message)
    {
        KimiToolCall[] calls = [.. message.Items("tool_calls", ContentText.MostParts).Select(c => Call(new JsonFields(c.Element, c.Path)))];
        string? reasoning = Reasoning(message);

        // An answer that was cut off within its reasoning has nothing else.
        string content = message.Has("content") ? s_content.Read(message, "content")
            : calls.Length > 0 || message.Has("refusal") || reasoning is { Length: > 0 } ? message.Text("refusal") ?? ""
            : throw message.Missing("content");
        return KimiMessage.Assistant(content, reasoning) with { ToolCalls = calls };
    }

    /// <summary>Clients know it by two names and some send both, one of them empty; templates read this one first.</summary>
    private static string? Reasoning(JsonFields message) => message.Text("reasoning") is { Length: > 0 } reasoning ? reasoning : message.Text("reasoning_content");

    private static KimiToolCall Call(JsonFields call)
    {
        JsonFields function = call.RequiredFields("function");
        string arguments = function.Text("arguments") is { Length: > 0 } given ? given : "{}";
        return new KimiToolCall(call.RequiredText("id"), function.RequiredText("name"), arguments);
    }

    private static string? NameOf(JsonFields message) => message.Text("name") is { } name && !string.IsNullOrWhiteSpace(name) ? name : null;
}
