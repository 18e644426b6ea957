// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Ollama;

/// <summary>Writes answers of <c>/api/chat</c> and <c>/api/generate</c>: one object, or one a line.</summary>
/// <param name="model">As the request names it.</param>
/// <param name="chat">Whether an answer is a message; else it is a text.</param>
internal sealed class OllamaWriter(string model, bool chat)
{
    private readonly long _start = System.Diagnostics.Stopwatch.GetTimestamp();

    /// <summary>The whole answer where nothing was asked.</summary>
    /// <param name="reason">What that is called.</param>
    public JsonObject Nothing(string reason)
    {
        JsonObject nothing = Nothing();
        (nothing["done"], nothing["done_reason"]) = (true, reason);
        return nothing;
    }

    /// <summary>A piece without text.</summary>
    public JsonObject Nothing() => Piece("", "", []);

    public JsonObject Whole(AnswerRequest request, GenerationResult result, ServerCall call) =>
        End(Piece(result.Text, result.Reasoning ?? "", result.ToolCalls), request, result, call);

    public async IAsyncEnumerable<JsonObject> LinesAsync(RunningAnswers answers, ServerCall call)
    {
        await foreach ((_, GenerationUpdate update) in answers.PiecesAsync().ConfigureAwait(false))
        {
            KimiToolCall[] calls = [.. update.ToolCalls.OfType<ToolCallEnded>().Where(c => c.IsComplete).Select(c => c.Call)];
            if (update.Text.Length > 0 || update.Reasoning.Length > 0 || calls.Length > 0)
            {
                yield return Piece(update.Text, update.Reasoning, calls);
            }

            if (update.Result is { } result)
            {
                yield return End(Piece("", "", []), answers.Request, result, call);
            }
        }
    }

    private static long Nanoseconds(TimeSpan time) => (long)(time.TotalMilliseconds * 1e6);

    private static JsonObject Call(KimiToolCall call) => new()
    {
        ["id"] = call.Id,
        ["function"] = new JsonObject { ["name"] = call.Name, ["arguments"] = ObjectOf(call.Arguments) },
    };

    private static JsonNode ObjectOf(string arguments)
    {
        try
        {
            return JsonNode.Parse(arguments) ?? new JsonObject();
        }
        catch (JsonException)
        {
            return arguments;
        }
    }

    private JsonObject Piece(string text, string reasoning, IReadOnlyList<KimiToolCall> calls)
    {
        var piece = new JsonObject { ["model"] = model, ["created_at"] = DateTimeOffset.UtcNow.ToString("O", CultureInfo.InvariantCulture) };
        JsonObject holder = piece;
        if (chat)
        {
            piece["message"] = holder = new JsonObject { ["role"] = "assistant", ["content"] = text };
        }
        else
        {
            piece["response"] = text;
        }

        if (reasoning.Length > 0)
        {
            holder["thinking"] = reasoning;
        }

        if (calls.Count > 0)
        {
            holder["tool_calls"] = JsonText.Array(calls.Select(Call));
        }

        piece["done"] = false;
        return piece;
    }

    private JsonObject End(JsonObject piece, AnswerRequest request, GenerationResult result, ServerCall call)
    {
        Usage usage = Usage.Of(request, [result]).Logged(call);
        piece["done"] = true;
        piece["done_reason"] = result.FinishReason == FinishReason.Length ? "length" : "stop";
        piece["total_duration"] = Nanoseconds(System.Diagnostics.Stopwatch.GetElapsedTime(_start));
        piece["load_duration"] = 0;
        piece["prompt_eval_count"] = usage.PromptTokens;
        piece["prompt_eval_duration"] = Nanoseconds(result.Timings.Prefill);
        piece["eval_count"] = usage.CompletionTokens;
        piece["eval_duration"] = Nanoseconds(result.Timings.Decode);
        return piece;
    }
}
