// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>Writes answers of <c>/v1/messages</c>.</summary>
/// <param name="model">Its name.</param>
/// <param name="request">What was asked.</param>
internal sealed class MessageWriter(string model, AnswerRequest request)
{
    /// <summary>Clients demand one and pass it back; reasoning is not checked here, so it says nothing.</summary>
    public const string Signature = "kimicpu";

    private readonly string _id = $"msg_{Guid.NewGuid():N}";

    /// <summary>
    /// A call, which the model itself makes and no code of it. Ids are as this interface has them; when they come back they stand for
    /// the call's place in the conversation.
    /// </summary>
    public static JsonObject ToolUse(string name, JsonObject input) => new()
    {
        ["type"] = "tool_use",
        ["id"] = $"toolu_{Guid.NewGuid():N}",
        ["caller"] = new JsonObject { ["type"] = "direct" },
        ["name"] = name,
        ["input"] = input,
    };

    public JsonObject Whole(GenerationResult result, ServerCall call)
    {
        var content = new JsonArray();
        if (!string.IsNullOrEmpty(result.Reasoning))
        {
            content.Add((JsonNode)new JsonObject { ["type"] = "thinking", ["thinking"] = result.Reasoning, ["signature"] = Signature });
        }

        if (result.Text.Length > 0)
        {
            content.Add((JsonNode)new JsonObject { ["type"] = "text", ["text"] = result.Text });
        }

        foreach (KimiToolCall made in result.ToolCalls)
        {
            content.Add((JsonNode)ToolUse(made.Name, ObjectOf(made.Arguments)));
        }

        JsonObject message = Message(content);
        (message["stop_reason"], message["stop_sequence"]) = StopOf(result);
        message["usage"] = UsageOf(Usage.Of(request, [result]).Logged(call));
        return message;
    }

    /// <summary>The message before there is anything of it.</summary>
    public JsonObject Begin(int promptTokens)
    {
        JsonObject message = Message([]);
        message["usage"] = UsageOf(new Usage(promptTokens, 0, 0, 0));
        return message;
    }

    /// <summary>The end of a streamed message.</summary>
    public JsonObject End(GenerationResult result, ServerCall call)
    {
        (JsonNode reason, JsonNode? sequence) = StopOf(result);
        return new JsonObject
        {
            ["type"] = "message_delta",
            ["delta"] = new JsonObject { ["stop_reason"] = reason, ["stop_sequence"] = sequence },
            ["usage"] = UsageOf(Usage.Of(request, [result]).Logged(call)),
        };
    }

    /// <summary>The cached tokens of a prompt are counted apart from the others.</summary>
    private static JsonObject UsageOf(Usage usage) => new()
    {
        ["input_tokens"] = usage.PromptTokens - usage.CachedTokens,
        ["cache_creation_input_tokens"] = 0,
        ["cache_read_input_tokens"] = usage.CachedTokens,
        ["output_tokens"] = usage.CompletionTokens,
    };

    private JsonObject Message(JsonArray content) => new()
    {
        ["id"] = _id,
        ["type"] = "message",
        ["role"] = "assistant",
        ["model"] = model,
        ["content"] = content,
        ["stop_reason"] = null,
        ["stop_sequence"] = null,
    };

    /// <summary>Arguments are an object in this interface. What a model wrote otherwise is kept as a text in one.</summary>
    private static JsonObject ObjectOf(string arguments)
    {
        try
        {
            return JsonNode.Parse(arguments) as JsonObject ?? new JsonObject { ["arguments"] = arguments };
        }
        catch (JsonException)
        {
            return new JsonObject { ["arguments"] = arguments };
        }
    }

    private static (JsonNode Reason, JsonNode? Sequence) StopOf(GenerationResult result) => result.FinishReason switch
    {
        FinishReason.Length => ("max_tokens", null),
        FinishReason.ToolCalls => ("tool_use", null),
        _ => result.StopSequence is { } sequence ? ("stop_sequence", sequence) : ("end_turn", null),
    };
}
