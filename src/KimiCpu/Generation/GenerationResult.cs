// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Serialization;
using KimiCpu.Chat;

namespace KimiCpu.Generation;

/// <summary>A finished answer.</summary>
public sealed record GenerationResult
{
    /// <summary>The answer, without reasoning and tool calls.</summary>
    public required string Text { get; init; }

    /// <summary>What the model thought before it answered; null where it did not.</summary>
    public required string? Reasoning { get; init; }

    /// <summary>
    /// The tools that the model called, in order; normally none unless some were declared. Their arguments are what the model
    /// wrote, and may not be JSON or not fit the tool's schema.
    /// </summary>
    public IReadOnlyList<KimiToolCall> ToolCalls { get; init => field = ValueList<KimiToolCall>.Of(value); } = ValueList<KimiToolCall>.Empty;

    /// <summary>A call that the answer's end has cut off within its arguments; it must not be carried out. Null for none.</summary>
    public KimiToolCall? IncompleteToolCall { get; init; }

    /// <summary>All generated token ids, a stop token included.</summary>
    public required IReadOnlyList<int> Tokens { get; init => field = ValueList<int>.Of(value); }

    /// <summary>Per token its log-probability, if asked for; else empty.</summary>
    public required IReadOnlyList<TokenLogProbability> LogProbabilities { get; init => field = ValueList<TokenLogProbability>.Of(value); }

    /// <summary>Why the answer ended.</summary>
    public required FinishReason FinishReason { get; init; }

    /// <summary>The one of <see cref="GenerationOptions.StopSequences"/> that ended the answer, which is no part of <see cref="Text"/>; null where something else did.</summary>
    public string? StopSequence { get; init; }

    /// <summary>Tokens in and out.</summary>
    public required GenerationUsage Usage { get; init; }

    /// <summary>Where the time went.</summary>
    public required GenerationTimings Timings { get; init; }

    /// <summary>
    /// The answer as a message that continues the conversation: with its reasoning and calls, so that the tools' results can follow, and with its
    /// tokens, so that it is found in the cache.
    /// </summary>
    public KimiMessage ToMessage() => KimiMessage.Assistant(Text, Reasoning) with { ToolCalls = ToolCalls, GeneratedTokens = Tokens };
}

/// <summary>Why an answer ended. JSON has the name, and may have the number.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<FinishReason>))]
public enum FinishReason
{
    /// <summary>The model ended its turn, or a stop token or stop sequence appeared.</summary>
    Stop,

    /// <summary><see cref="GenerationOptions.MaxTokens"/> or the context was reached.</summary>
    Length,

    /// <summary>The model ended its turn to wait for the tools that it called.</summary>
    ToolCalls,
}

/// <summary>Tokens in and out.</summary>
/// <param name="PromptTokens">Tokens of the prompt, template included.</param>
/// <param name="CompletionTokens">Generated tokens, reasoning and stop token included.</param>
/// <param name="ReasoningTokens">Generated tokens that belong to the reasoning.</param>
/// <param name="CachedTokens">Tokens of the prompt that were in the cache and not computed; fewer than the prompt's, whose last one always is.</param>
public sealed record GenerationUsage(int PromptTokens, int CompletionTokens, int ReasoningTokens, int CachedTokens = 0);

/// <summary>Where the time of a call went.</summary>
/// <param name="Queued">From the call to the first step that worked on it.</param>
/// <param name="Prefill">From there to the first token.</param>
/// <param name="Decode">From the first token to the last.</param>
public sealed record GenerationTimings(TimeSpan Queued, TimeSpan Prefill, TimeSpan Decode)
{
    /// <summary>Prompt tokens per second, those that were computed and not taken from the cache; 0 where nothing was measured.</summary>
    public double PrefillTokensPerSecond { get; init; }

    /// <summary>Generated tokens per second after the first one; 0 where nothing was measured.</summary>
    public double DecodeTokensPerSecond { get; init; }

    /// <summary>
    /// Bytes read from memory for a generated token after the first one, on average: the weights that every token needs, as
    /// they are stored or copied, its routed experts, and the cached context. A step reads each weight once for all calls in
    /// it, and each of these bears the same part of the step's bytes. Activations are not counted. 0 where nothing was
    /// decoded.
    /// </summary>
    public double DecodeBytesPerToken { get; init; }

    /// <summary>
    /// Bytes of routed experts that came from drives for a generated token after the first one, on average, since they did
    /// not fit into memory; what look-ahead read is included. Times <see cref="DecodeTokensPerSecond"/> it is what the drives
    /// gave. 0 where all weights are in memory.
    /// </summary>
    public double DecodeDriveBytesPerToken { get; init; }

    /// <summary>
    /// Bytes per second read while this call decoded, by its steps as a whole, whoever shared them. Alone it is
    /// <see cref="DecodeBytesPerToken"/> times <see cref="DecodeTokensPerSecond"/>. 0 where nothing was decoded.
    /// </summary>
    public double DecodeBytesPerSecond { get; init; }

    /// <summary>
    /// <see cref="DecodeBytesPerSecond"/> as a share of the read bandwidth that the model's threads get from memory. Near 1
    /// the memory is the bound, and only fewer bytes or faster memory make decoding faster; far below it something else is.
    /// Both are measured, so it can pass 1 by a little. Null where the bandwidth is not known: it is measured in the idle
    /// time after the first call that decoded, or by <see cref="IKimiModel.MeasureMemoryBandwidth"/>. Null also for models so
    /// small that a step reads less than twice what the CPU's caches hold.
    /// </summary>
    public double? MemoryBandwidthShare { get; init; }
}

/// <summary>A token and how likely the model found it (before sampling options, after softmax).</summary>
/// <param name="Token">The id.</param>
/// <param name="LogProbability">Natural logarithm of its probability.</param>
/// <param name="Top">The most likely tokens at this position, best first, as many as were asked for.</param>
public sealed record TokenLogProbability(int Token, float LogProbability, IReadOnlyList<(int Token, float LogProbability)> Top)
{
    /// <summary>The most likely tokens at this position, best first, as many as were asked for.</summary>
    public IReadOnlyList<(int Token, float LogProbability)> Top { get; init => field = ValueList<(int Token, float LogProbability)>.Of(value); } = ValueList<(int Token, float LogProbability)>.Of(Top);
}
