// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;

namespace KimiCpu.Generation;

/// <summary>
/// How an answer is sampled and when it ends. Every value is checked when generation starts; an
/// <see cref="ArgumentOutOfRangeException"/> names the option and its range. Order: logit bias, penalties, temperature,
/// top-k, top-p, min-p. A constraint takes effect between the penalties and the temperature. Lists are copied; two records of options are equal
/// where their values are, lists by their elements, and their tools, constraint and progress are the same objects.
/// </summary>
public sealed partial record GenerationOptions
{
    /// <summary>0 for greedy decoding, else the divisor of the logits, up to 100. Default 0.6, as Moonshot advises for K2 Instruct (1.0 for K2 Thinking); that of a checkpoint's <c>generation_config.json</c> is not read.</summary>
    public float Temperature { get; init; } = 0.6f;

    /// <summary>Only the so many most likely tokens; null or 0 for all.</summary>
    public int? TopK { get; init; }

    /// <summary>Only the most likely tokens that together reach this probability, in (0, 1]. Default 1: all.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Only tokens at least so likely relative to the most likely one, in [0, 1). Default 0: all.</summary>
    public float MinP { get; init; }

    /// <summary>Divides positive and multiplies negative logits of tokens that occurred in the prompt or the answer (CTRL, arXiv:1909.05858); in (0, 10]. Default 1: off.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted once from tokens that occurred in the answer; in [-2, 2]. Default 0.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Subtracted per occurrence in the answer; in [-2, 2]. Default 0.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Added to the logits of single tokens, by id of the tokenizer; negative infinity forbids one. An answer ends with an <see cref="ArgumentException"/> where that forbids all that a constraint allows.</summary>
    public IReadOnlyDictionary<int, float>? LogitBias { get; init => field = ValueDictionary<int, float>.Of(value); }

    /// <summary>Same seed, prompt, options and model settings: same text. Null for a random one.</summary>
    public ulong? Seed { get; init; }

    /// <summary>Most tokens of the answer, reasoning included; null for as many as the context holds. At least 1.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Told how many tokens the prompt has, once it is encoded and before the call begins.</summary>
    internal Action<int>? PromptCounted { get; init; }

    /// <summary>Whether the answer has fewer tokens than <see cref="MaxTokens"/> where there is less room, since nobody insists on so many. Otherwise there has to be room for all of them.</summary>
    internal bool TakesFewerTokens { get; init; }

    /// <summary>Texts that end the answer where they first appear in its text (not in the reasoning, nor in tool calls); none is ever part of it. Of those that overlap the one that is whole first ends it. None may be empty, or have half of a surrogate pair.</summary>
    public IReadOnlyList<string> StopSequences { get; init => field = ValueList<string>.Of(value); } = ValueList<string>.Empty;

    /// <summary>Token ids that end the answer, besides those of the checkpoint.</summary>
    public IReadOnlyList<int> StopTokens { get; init => field = ValueList<int>.Of(value); } = ValueList<int>.Empty;

    /// <summary>Whether the tokens that the checkpoint calls end of text or end of turn are ignored. Default false.</summary>
    public bool IgnoreEndOfText { get; init; }

    /// <summary>Whether every token comes with its log-probability. Default false.</summary>
    public bool LogProbabilities { get; init; }

    /// <summary>How many of the most likely tokens come with theirs; 0 … 20, and more than 0 with <see cref="LogProbabilities"/> only. Default 0.</summary>
    public int TopLogProbabilities { get; init; }

    /// <summary>Whether the model may reason before it answers, where its template can say so. Default true.</summary>
    public bool Thinking { get; init; } = true;

    /// <summary>
    /// Most tokens of reasoning, 0 or more; null for no limit. Then the reasoning is closed as the model closes it, and the
    /// answer begins. A character is not cut in two, so there may be up to three tokens more.
    /// </summary>
    public int? MaxReasoningTokens { get; init; }

    /// <summary>
    /// Whether the model sees its reasoning of earlier turns (<see cref="KimiMessage.Reasoning"/>), where its template can show
    /// it: K2.6's can. Others show it only as long as the assistant goes on calling tools. Default false.
    /// </summary>
    public bool PreserveThinking { get; init; }

    /// <summary>Functions that the model may call; no two of one name. They are declared before the first message, so they need messages and do not go with token ids.</summary>
    public IReadOnlyList<KimiTool> Tools { get; init => field = ValueList<KimiTool>.Of(value); } = ValueList<KimiTool>.Empty;

    /// <summary>
    /// Told how far the prompt has been read: when that begins and when it is done, and between them after layers of the model, ten times a
    /// second at most. Called on the thread that computes for all calls, so it should return at once; what it throws ends the call. It is not called any more once the call is cancelled, but
    /// where it was called just before that it may return after the call has. Null, the default, for nobody.
    /// </summary>
    public IProgress<PromptProgress>? PromptProgress { get; init; }
}
