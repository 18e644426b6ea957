// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Writes responses: what came of a request, beside the request itself.</summary>
internal sealed class ResponseWriter
{
    private readonly AnswerRequest _request;

    /// <summary>The response with what was asked, written once.</summary>
    private readonly byte[] _asked;

    /// <param name="model">Its name.</param>
    /// <param name="request">What was asked.</param>
    public ResponseWriter(string model, ResponseRequest request) => (_request, _asked) = (request.Answer, JsonText.Bytes(Asked(model, request.Answer, request.Fields)));

    /// <summary>The response before there is anything of it, as JSON.</summary>
    public string Begun => Encoding.UTF8.GetString(_asked);

    /// <summary>The response while it goes on.</summary>
    /// <param name="output">Its items that have ended.</param>
    public JsonObject Running(IEnumerable<JsonNode> output) => Response(OutputItems.Running, output.Select(i => i.DeepClone()));

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

        response["usage"] = UsageOf(Usage.Of(_request, [result]).Logged(call));
        return response;
    }

    /// <summary>A response that cannot be finished.</summary>
    public JsonObject Failed(RequestException error, IReadOnlyList<JsonObject> output)
    {
        JsonObject response = Response("failed", output);
        response["error"] = new JsonObject
        {
            ["code"] = CodeOf(error),
            ["message"] = error.Message,
        };
        return response;
    }

    /// <summary>The short name of a problem; here there has to be one.</summary>
    public static string CodeOf(RequestException error) => error.Code ?? (error.Status >= StatusCodes.Status500InternalServerError ? "server_error" : "invalid_prompt");

    private static JsonObject UsageOf(Usage usage) => new()
    {
        ["input_tokens"] = usage.PromptTokens,
        ["input_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.CachedTokens },
        ["output_tokens"] = usage.CompletionTokens,
        ["output_tokens_details"] = new JsonObject { ["reasoning_tokens"] = usage.ReasoningTokens },
        ["total_tokens"] = usage.PromptTokens + usage.CompletionTokens,
    };

    private JsonObject Response(string status, IEnumerable<JsonNode> output)
    {
        JsonObject response = JsonNode.Parse(_asked)!.AsObject();
        (response["status"], response["output"]) = (status, JsonText.Array(output));
        return response;
    }

    private static JsonObject Asked(string model, AnswerRequest request, JsonFields fields) => new()
    {
        ["id"] = OutputItems.NewId("resp"),
        ["object"] = "response",
        ["created_at"] = DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
        ["completed_at"] = null,
        ["status"] = OutputItems.Running,
        ["background"] = false,
        ["error"] = null,
        ["incomplete_details"] = null,
        ["instructions"] = Given(fields, "instructions"),
        ["max_output_tokens"] = request.Options.MaxTokens,
        ["max_tool_calls"] = Given(fields, "max_tool_calls"),
        ["metadata"] = Given(fields, "metadata") ?? new JsonObject(),
        ["model"] = model,
        ["output"] = new JsonArray(),
        ["parallel_tool_calls"] = !request.SingleToolCall,
        ["previous_response_id"] = null,
        ["prompt_cache_key"] = Given(fields, "prompt_cache_key"),
        ["reasoning"] = Again(fields.Fields("reasoning"), ResponseRequestReader.ReasoningFields, new JsonObject { ["effort"] = null, ["summary"] = null }),
        ["safety_identifier"] = Given(fields, "safety_identifier"),
        ["service_tier"] = "default",
        ["store"] = false,
        ["temperature"] = request.Options.Temperature,
        ["text"] = Again(fields.Fields("text"), ResponseRequestReader.TextFields, new JsonObject { ["format"] = new JsonObject { ["type"] = "text" } }),
        ["tool_choice"] = Given(fields, "tool_choice") ?? "auto",
        ["tools"] = Given(fields, "tools") ?? new JsonArray(),
        ["top_logprobs"] = request.Options.TopLogProbabilities,
        ["top_p"] = Given(fields, "top_p") ?? request.Options.TopP,
        ["truncation"] = "disabled",
        ["usage"] = null,
        ["user"] = Given(fields, "user"),
    };

    /// <summary>An object of the request, each of its fields once, as it was read.</summary>
    /// <param name="given">The object; null where it was left out.</param>
    /// <param name="names">Of the fields that it may have.</param>
    /// <param name="again">What it has where they were left out.</param>
    private static JsonObject Again(JsonFields? given, IEnumerable<string> names, JsonObject again)
    {
        foreach (string name in names)
        {
            if (given is { } fields && Given(fields, name) is { } value)
            {
                again[name] = value;
            }
        }

        return again;
    }

    /// <summary>A field of the request as it came; null where it was left out.</summary>
    private static JsonNode? Given(JsonFields fields, string name) => fields.Get(name) is { } value ? JsonNode.Parse(value.GetRawText()) : null;
}
