// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;

namespace KimiCpu.Chat;

/// <summary>A conversation with its tools, and what the file says about the rendering.</summary>
/// <param name="Messages">In order.</param>
/// <param name="Tools">Of the conversation.</param>
/// <param name="Thinking">Null where the file does not say.</param>
/// <param name="PreserveThinking">Null where the file does not say.</param>
/// <param name="GenerationPrompt">Null where the file does not say.</param>
internal sealed record Conversation(IReadOnlyList<KimiMessage> Messages, IReadOnlyList<KimiTool> Tools, bool? Thinking, bool? PreserveThinking, bool? GenerationPrompt);

/// <summary>
/// Reads conversations in the form of OpenAI's interface: an object with <c>messages</c> and <c>tools</c>, or the array of
/// messages alone. A role that is not known speaks as a system message under its own name.
/// </summary>
internal static class ConversationJson
{
    /// <param name="utf8">JSON.</param>
    /// <exception cref="FormatException">It is no JSON or no conversation; the message says where.</exception>
    /// <exception cref="NotSupportedException">A message has parts other than text.</exception>
    public static Conversation Read(ReadOnlyMemory<byte> utf8)
    {
        try
        {
            // Some editors begin a file with a mark that JSON does not know.
            using JsonDocument document = JsonDocument.Parse(utf8.Span.StartsWith(Encoding.UTF8.Preamble) ? utf8[Encoding.UTF8.Preamble.Length..] : utf8);
            return Read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: half of a surrogate pair in a text.
            throw new FormatException($"A conversation is JSON: {e.Message}", e);
        }
    }

    /// <inheritdoc cref="Read(ReadOnlyMemory{byte})"/>
    public static Conversation Read(JsonElement root)
    {
        if (root.ValueKind == JsonValueKind.Array)
        {
            return new Conversation(ReadMessages(root), [], null, null, null);
        }

        Expect(root, JsonValueKind.Object, "The conversation");
        Expect(root.TryGetProperty("messages", out JsonElement messages) ? messages : default, JsonValueKind.Array, "messages");
        return new Conversation(ReadMessages(messages), ReadTools(root), Flag(root, "thinking"), Flag(root, "preserve_thinking"), Flag(root, "add_generation_prompt"));
    }

    private static List<KimiMessage> ReadMessages(JsonElement messages) => [.. messages.EnumerateArray().Select((m, i) => ReadMessage(m, $"messages[{i}]"))];

    private static List<KimiTool> ReadTools(JsonElement root)
    {
        if (Optional(root, "tools") is not { } tools)
        {
            return [];
        }

        Expect(tools, JsonValueKind.Array, "tools");
        return [.. tools.EnumerateArray().Select((tool, i) =>
        {
            try
            {
                return KimiTool.Parse(tool);
            }
            catch (FormatException e)
            {
                throw new FormatException($"tools[{i}]: {e.Message}", e);
            }
        })];
    }

    private static KimiMessage ReadMessage(JsonElement message, string path)
    {
        Expect(message, JsonValueKind.Object, path);
        string role = Text(message, "role", path) ?? throw new FormatException($"{path}.role is missing.");
        KimiRole? known = role switch
        {
            "system" => KimiRole.System,
            "user" => KimiRole.User,
            "assistant" => KimiRole.Assistant,
            "tool" => KimiRole.Tool,
            _ => null,
        };
        string? reasoning = Text(message, "reasoning", path);
        return new KimiMessage(known ?? KimiRole.System, ReadContent(message, path))
        {
            Name = Text(message, "name", path) ?? (known is null ? role : null),
            HasOtherRole = known is null,
            Reasoning = string.IsNullOrEmpty(reasoning) ? Text(message, "reasoning_content", path) : reasoning,
            ToolCalls = ReadCalls(message, path),
            ToolCallId = Text(message, "tool_call_id", path),
        };
    }

    private static string ReadContent(JsonElement message, string path)
    {
        if (Optional(message, "content") is not { ValueKind: JsonValueKind.Array } parts)
        {
            return Text(message, "content", path) ?? "";
        }

        var text = new StringBuilder();
        foreach ((int i, JsonElement part) in parts.EnumerateArray().Index())
        {
            string place = $"{path}.content[{i}]";
            Expect(part, JsonValueKind.Object, place);
            string? type = Text(part, "type", place);
            if (type is not (null or "text"))
            {
                throw new NotSupportedException($"{place} is of type '{type}'; only text is supported.");
            }

            text.Append(Text(part, "text", place) ?? throw new FormatException($"{place}.text is missing."));
        }

        return text.ToString();
    }

    private static List<KimiToolCall> ReadCalls(JsonElement message, string path)
    {
        if (Optional(message, "tool_calls") is not { } calls)
        {
            return [];
        }

        Expect(calls, JsonValueKind.Array, $"{path}.tool_calls");
        return [.. calls.EnumerateArray().Select((call, i) => ReadCall(call, $"{path}.tool_calls[{i}]"))];
    }

    private static KimiToolCall ReadCall(JsonElement call, string path)
    {
        Expect(call, JsonValueKind.Object, path);
        Expect(call.TryGetProperty("function", out JsonElement function) ? function : default, JsonValueKind.Object, $"{path}.function");
        string name = Text(function, "name", $"{path}.function") ?? throw new FormatException($"{path}.function.name is missing.");
        JsonElement arguments = Optional(function, "arguments") ?? throw new FormatException($"{path}.function.arguments is missing.");
        string text = arguments.ValueKind == JsonValueKind.String ? arguments.GetString()! : PythonJson.Write(arguments);
        return new KimiToolCall(Text(call, "id", path) ?? "", name, text);
    }

    /// <summary>A member; null where it is missing or null.</summary>
    private static JsonElement? Optional(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string? Text(JsonElement parent, string name, string path)
    {
        if (Optional(parent, name) is not { } value)
        {
            return null;
        }

        Expect(value, JsonValueKind.String, $"{path}.{name}");
        return value.GetString();
    }

    private static bool? Flag(JsonElement parent, string name) => Optional(parent, name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw new FormatException($"{name}: expected true or false, found {other.GetRawText()}."),
    };

    private static void Expect(JsonElement value, JsonValueKind kind, string path)
    {
        if (value.ValueKind != kind)
        {
            string found = value.ValueKind == JsonValueKind.Undefined ? "nothing" : $"{value.ValueKind}".ToLowerInvariant();
            throw new FormatException($"{path}: expected {(kind == JsonValueKind.String ? "a text" : kind == JsonValueKind.Array ? "an array" : "an object")}, found {found}.");
        }
    }
}
