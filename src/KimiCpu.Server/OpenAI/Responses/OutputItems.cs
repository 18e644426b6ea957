// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Tokens;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>The items of a response's <c>output</c>.</summary>
/// <param name="request">What was asked.</param>
/// <param name="tokenizer">Of the model.</param>
internal sealed class OutputItems(ResponseRequest request, KimiTokenizer tokenizer)
{
    public const string Running = "in_progress";
    public const string Completed = "completed";
    public const string Incomplete = "incomplete";

    private readonly LogProbabilityJson _logProbabilities = new(tokenizer);

    /// <summary>What reasoning goes out as.</summary>
    public TextKind ReasoningKind => request.Summarizes ? TextKind.Summary : TextKind.Reasoning;

    /// <summary>How an answer ends, and its last item where that is a text; items before it are complete, and calls say so themselves.</summary>
    public static string StatusOf(FinishReason reason) => reason == FinishReason.Length ? Incomplete : Completed;

    public static string NewId(string prefix) => $"{prefix}_{Guid.NewGuid():N}";

    /// <summary>A call with its id in the conversation, by which its output names it, and one of its own.</summary>
    public static JsonObject Call(string id, string callId, string name, string arguments, string status) => new()
    {
        ["id"] = id,
        ["type"] = "function_call",
        ["status"] = status,
        ["call_id"] = callId,
        ["name"] = name,
        ["arguments"] = arguments,
    };

    public JsonArray LogProbabilities(IReadOnlyList<TokenLogProbability> tokens) => _logProbabilities.Tokens(tokens);

    /// <summary>The items of a whole answer.</summary>
    public IReadOnlyList<JsonObject> Of(GenerationResult result)
    {
        var items = new List<JsonObject>();
        if (!string.IsNullOrEmpty(result.Reasoning))
        {
            items.Add(Text(ReasoningKind, result.Reasoning, []));
        }

        if (result.Text.Length > 0)
        {
            items.Add(Text(TextKind.Message, result.Text, request.Answer.Options.LogProbabilities ? ContentTokens.Of(result, tokenizer, request.Answer.Options.StopSequences) : []));
        }

        if (items.Count > 0 && result is { ToolCalls.Count: 0, IncompleteToolCall: null })
        {
            items[^1]["status"] = StatusOf(result.FinishReason);
        }

        // The limit may fall behind what ends a call, which is whole then.
        items.AddRange(result.ToolCalls.Select(c => Call(NewId("fc"), c.Id, c.Name, c.Arguments, Completed)));
        if (result.IncompleteToolCall is { } cut)
        {
            items.Add(Call(NewId("fc"), cut.Id, cut.Name, cut.Arguments, Incomplete));
        }

        return items;
    }

    private JsonObject Text(TextKind kind, string text, IReadOnlyList<TokenLogProbability> tokens) =>
        kind.Item(NewId(kind.IdPrefix), Completed, kind.Part(text, LogProbabilities(tokens)));
}
