// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Writes responses: what came of a request, beside the request itself.</summary>
/// <param name="model">Its name.</param>
/// <param name="request">What was asked.</param>
internal sealed class ResponseWriter(string model, ResponseRequest request)
{
    private readonly string _id = OutputItems.NewId("resp");
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    /// <summary>The response before there is anything of it.</summary>
    public JsonObject Begin() => Response(OutputItems.Running, []);

    /// <summary>The whole response.</summary>
    public JsonObject End(GenerationResult result, IReadOnlyList<JsonObject> output, ServerCall call)
    {
        JsonObject response = Response(OutputItems.StatusOf(result.FinishReason), output);
        if (result.FinishReason == FinishReason.Length)
        {
            response["incomplete_details"] = new JsonObject { ["reason"] = "max_output_tokens" };
        }
        else
        {
            response["completed_at"] = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        }

        response["usage"] = UsageOf(Usage.Of(request.Answer, [result]).Logged(call));
        return response;
    }

    /// <summary>A response that cannot be finished.</summary>
    public JsonObject Failed(RequestException error, IReadOnlyList<JsonObject> output)
    {
        JsonObject response = Response("failed", output);
        response["error"] = new JsonObject
        {
            ["code"] = error.Code ?? (error.Status >= StatusCodes.Status500InternalServerError ? "server_error" : "invalid_prompt"),
            ["message"] = error.Message,
        };
        return response;
    }

    private static JsonObject UsageOf(Usage usage) => new()
    {
        ["input_tokens"] = usage.PromptTokens,
        ["input_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.CachedTokens },
        ["output_tokens"] = usage.CompletionTokens,
        ["output_tokens_details"] = new JsonObject { ["reasoning_tokens"] = usage.ReasoningTokens },
        ["total_tokens"] = usage.PromptTokens + usage.CompletionTokens,
    };

    private JsonObject Response(string status, IReadOnlyList<JsonObject> output) => new()
    {
        ["id"] = _id,
        ["object"] = "response",
        ["created_at"] = _created,
        ["completed_at"] = null,
        ["status"] = status,
        ["background"] = false,
        ["error"] = null,
        ["incomplete_details"] = null,
        ["instructions"] = Given("instructions"),
        ["max_output_tokens"] = Given("max_output_tokens"),
        ["max_tool_calls"] = Given("max_tool_calls"),
        ["metadata"] = Given("metadata") ?? new JsonObject(),
        ["model"] = model,
        ["output"] = JsonText.Array(output),
        ["parallel_tool_calls"] = !request.Answer.SingleToolCall,
        ["previous_response_id"] = null,
        ["prompt_cache_key"] = Given("prompt_cache_key"),
        ["reasoning"] = Reasoning(),
        ["safety_identifier"] = Given("safety_identifier"),
        ["service_tier"] = "default",
        ["store"] = false,
        ["temperature"] = request.Answer.Options.Temperature,
        ["text"] = Text(),
        ["tool_choice"] = Given("tool_choice") ?? "auto",
        ["tools"] = Given("tools") ?? new JsonArray(),
        ["top_logprobs"] = request.Answer.Options.TopLogProbabilities,
        ["top_p"] = Given("top_p") ?? request.Answer.Options.TopP,
        ["truncation"] = "disabled",
        ["usage"] = null,
        ["user"] = Given("user"),
    };

    private JsonObject Reasoning()
    {
        JsonObject reasoning = Given("reasoning") as JsonObject ?? [];
        foreach (string name in (string[])["effort", "summary"])
        {
            reasoning.TryAdd(name, null);
        }

        return reasoning;
    }

    private JsonObject Text()
    {
        JsonObject text = Given("text") as JsonObject ?? [];
        text["format"] ??= new JsonObject { ["type"] = "text" };
        return text;
    }

    /// <summary>A field of the request as it came; null where it was left out.</summary>
    private JsonNode? Given(string name) => request.Fields.Get(name) is { } value ? JsonNode.Parse(value.GetRawText()) : null;
}
