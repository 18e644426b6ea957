// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;
using KimiCpu.Tokens;

namespace KimiCpu.Server.OpenAI;

/// <summary>Writes answers of <c>/v1/completions</c>.</summary>
/// <param name="model">Its name.</param>
/// <param name="tokenizer">Of the model.</param>
/// <param name="request">What was asked.</param>
/// <param name="echo">Whether answers begin with their prompts.</param>
internal sealed class CompletionWriter(string model, KimiTokenizer tokenizer, AnswerRequest request, bool echo)
{
    private readonly string _id = $"cmpl-{Guid.NewGuid():N}";
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly LogProbabilityJson _logProbabilities = new(tokenizer);
    private readonly TextOffset[] _offsets = [.. Enumerable.Range(0, request.Total).Select(_ => new TextOffset(tokenizer))];

    /// <summary>What an answer begins with.</summary>
    public string Begin(int choice) => echo ? tokenizer.Decode(request.Prompts[choice / request.Choices]) : "";

    public JsonObject Whole(IReadOnlyList<GenerationResult> results, ServerCall call)
    {
        JsonObject whole = Head(JsonText.Array(results.Select((r, i) => Choice(i, Begin(i) + r.Text, ShownTokens.Of(r, tokenizer, request.Options.StopSequences), r.FinishReason))));
        whole["usage"] = ChatWriter.UsageOf(Usage.Of(request, results).Logged(call));
        return whole;
    }

    public JsonObject Piece(int choice, string text, IReadOnlyList<TokenLogProbability> tokens, FinishReason? reason) => Head(JsonText.Array([Choice(choice, text, tokens, reason)]));

    public JsonObject Cost(Usage usage)
    {
        JsonObject piece = Head([]);
        piece["usage"] = ChatWriter.UsageOf(usage);
        return piece;
    }

    private JsonObject Choice(int choice, string text, IReadOnlyList<TokenLogProbability> tokens, FinishReason? reason) => new()
    {
        ["index"] = choice,
        ["text"] = text,
        ["logprobs"] = tokens.Count > 0 ? _logProbabilities.Completion(tokens, _offsets[choice]) : null,
        ["finish_reason"] = reason is { } why ? ChatWriter.Reason(why) : null,
    };

    private JsonObject Head(JsonArray choices) => new()
    {
        ["id"] = _id,
        ["object"] = "text_completion",
        ["created"] = _created,
        ["model"] = model,
        ["choices"] = choices,
    };
}
