// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;

namespace KimiCpu.Server.OpenAI;

/// <summary>Writes answers of <c>/v1/chat/completions</c>.</summary>
/// <param name="model">Its name.</param>
/// <param name="tokenizer">Of the model.</param>
internal sealed class ChatWriter(string model, KimiTokenizer tokenizer)
{
    private readonly string _id = $"chatcmpl-{Guid.NewGuid():N}";
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly LogProbabilityJson _logProbabilities = new(tokenizer);

    public static string Reason(FinishReason reason) => reason switch
    {
        FinishReason.Length => "length",
        FinishReason.ToolCalls => "tool_calls",
        _ => "stop",
    };

    public static JsonObject UsageOf(Usage usage) => new()
    {
        ["prompt_tokens"] = usage.PromptTokens,
        ["completion_tokens"] = usage.CompletionTokens,
        ["total_tokens"] = usage.PromptTokens + usage.CompletionTokens,
        ["prompt_tokens_details"] = new JsonObject { ["cached_tokens"] = usage.CachedTokens },
        ["completion_tokens_details"] = new JsonObject { ["reasoning_tokens"] = usage.ReasoningTokens },
    };

    public JsonObject Whole(AnswerRequest request, IReadOnlyList<GenerationResult> results, ServerCall call)
    {
        JsonObject whole = Head("chat.completion", JsonText.Array(results.Select((r, i) => Choice(request, r, i))));
        whole["usage"] = UsageOf(Usage.Of(request, results).Logged(call));
        return whole;
    }

    /// <summary>A piece of a stream.</summary>
    /// <param name="choice">Which answer.</param>
    /// <param name="delta">What is new.</param>
    /// <param name="tokens">Log-probabilities of the new text; null where none were asked for.</param>
    /// <param name="reason">Of the last piece of an answer; else null.</param>
    public JsonObject Piece(int choice, JsonObject delta, IReadOnlyList<TokenLogProbability>? tokens = null, FinishReason? reason = null) =>
        Head("chat.completion.chunk", JsonText.Array([new JsonObject
        {
            ["index"] = choice,
            ["delta"] = delta,
            ["logprobs"] = tokens is { Count: > 0 } ? _logProbabilities.Chat(tokens) : null,
            ["finish_reason"] = reason is { } why ? Reason(why) : null,
        }]));

    /// <summary>The last piece of a stream, which says what it cost.</summary>
    public JsonObject Cost(Usage usage)
    {
        JsonObject piece = Head("chat.completion.chunk", []);
        piece["usage"] = UsageOf(usage);
        return piece;
    }

    private JsonObject Head(string kind, JsonArray choices) => new()
    {
        ["id"] = _id,
        ["object"] = kind,
        ["created"] = _created,
        ["model"] = model,
        ["choices"] = choices,
    };

    private JsonObject Choice(AnswerRequest request, GenerationResult result, int index)
    {
        var message = new JsonObject
        {
            ["role"] = "assistant",
            ["content"] = result.Text.Length > 0 || result.ToolCalls.Count == 0 ? result.Text : null,
            ["refusal"] = null,
        };
        if (!string.IsNullOrEmpty(result.Reasoning))
        {
            message["reasoning_content"] = result.Reasoning;
        }

        if (result.ToolCalls.Count > 0)
        {
            message["tool_calls"] = JsonText.Array(result.ToolCalls.Select(Call));
        }

        return new JsonObject
        {
            ["index"] = index,
            ["message"] = message,
            ["logprobs"] = request.Options.LogProbabilities ? _logProbabilities.Chat(ContentTokens.Of(result, tokenizer, request.Options.StopSequences)) : null,
            ["finish_reason"] = Reason(result.FinishReason),
        };
    }

    private static JsonObject Call(KimiToolCall call) => new()
    {
        ["id"] = call.Id,
        ["type"] = "function",
        ["function"] = new JsonObject { ["name"] = call.Name, ["arguments"] = call.Arguments },
    };
}
