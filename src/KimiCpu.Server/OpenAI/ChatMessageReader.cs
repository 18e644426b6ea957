// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Reads <c>messages</c>. Calls with ids of other providers get those that the models are trained on.</summary>
/// <param name="maxMessages">Most of them.</param>
internal sealed class ChatMessageReader(int maxMessages)
{
    private const int MostParts = 1024;

    private readonly ForeignIds _ids = new();

    public IReadOnlyList<KimiMessage> Read(JsonFields request)
    {
        IReadOnlyList<(JsonElement Element, string Path)> messages = request.Items("messages", maxMessages);
        return messages.Count > 0 ? [.. messages.Select(m => ReadMessage(new JsonFields(m.Element, m.Path)))] : throw request.Invalid("messages", "at least one message");
    }

    private KimiMessage ReadMessage(JsonFields message) => message.RequiredText("role") switch
    {
        "system" or "developer" => KimiMessage.System(Content(message)) with { Name = NameOf(message) },
        "user" => KimiMessage.User(Content(message)) with { Name = NameOf(message) },
        "assistant" => Assistant(message),
        "tool" => KimiMessage.Tool(_ids.Answered(message.RequiredText("tool_call_id")), Content(message)),
        "function" => throw message.Unsupported("role", "use tools, and results with the role tool."),
        _ => throw message.Invalid("role", "system, developer, user, assistant or tool"),
    };

    private KimiMessage Assistant(JsonFields message)
    {
        IReadOnlyList<KimiToolCall> calls = _ids.Called(message.Items("tool_calls", MostParts).Select(c => Call(new JsonFields(c.Element, c.Path))));
        string content = message.Has("content") ? Content(message) : calls.Count > 0 || message.Has("refusal") ? message.Text("refusal") ?? "" : throw message.Missing("content");
        return KimiMessage.Assistant(content, Reasoning(message)) with { ToolCalls = calls };
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

    private static string Content(JsonFields message)
    {
        if (message.Get("content") is not { ValueKind: JsonValueKind.Array })
        {
            return message.RequiredText("content");
        }

        var text = new StringBuilder();
        foreach ((JsonElement element, string path) in message.Items("content", MostParts))
        {
            var part = new JsonFields(element, path);
            text.Append(part.RequiredText("type") switch
            {
                "text" => part.RequiredText("text"),
                "refusal" => part.RequiredText("refusal"),
                string other => throw part.Unsupported("type", $"the model reads text only; found '{other}'."),
            });
        }

        return text.ToString();
    }
}
