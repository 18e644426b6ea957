// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Generation;

namespace KimiCpu.Server.Answers;

/// <summary>What every dialect's request becomes.</summary>
internal sealed record AnswerRequest
{
    /// <summary>The conversation; null where <see cref="Prompts"/> are continued.</summary>
    public IReadOnlyList<KimiMessage>? Messages { get; init; }

    /// <summary>The key of the conversation by which <see cref="AnswerMemory"/> knows its answers again; null where none is kept.</summary>
    public UInt128? Place { get; init; }

    /// <summary>Token ids that are continued without the chat template; none where there are <see cref="Messages"/>.</summary>
    public IReadOnlyList<int[]> Prompts { get; init; } = [];

    /// <summary>For the model.</summary>
    public required GenerationOptions Options { get; init; }

    /// <summary>Most tokens of an answer where the options name no limit; fewer where there is less room, while a limit of the options' has to fit. Null for as many as there is room for.</summary>
    public int? Ceiling { get; init; }

    /// <summary>Answers for each prompt.</summary>
    public int Choices { get; init; } = 1;

    /// <summary>Whether an answer ends with its first tool call.</summary>
    public bool SingleToolCall { get; init; }

    /// <summary>Whether the answer is sent as it is made.</summary>
    public bool Streams { get; init; }

    /// <summary>Answers in all.</summary>
    public int Total => Choices * Math.Max(1, Prompts.Count);

    /// <summary>The options for one of the answers: each has its own seed, or all would be the same.</summary>
    public GenerationOptions OptionsOf(int choice, IKimiModel model, int? maxTokens)
    {
        int? wanted = Options.MaxTokens ?? Ceiling;
        GenerationOptions options = Options with
        {
            Seed = Options.Seed + (ulong)(choice % Choices),
            MaxTokens = maxTokens is { } most ? Math.Min(most, wanted ?? most) : wanted,
            AllowUnenforceableTools = true,
        };
        options = Options.MaxTokens is null ? options.TakingFewerTokens() : options;
        return SingleToolCall && options.Tools.Count > 0 && model.Tokenizer.TryGetSpecialToken("<|tool_call_end|>", out int end)
            ? options with { StopTokens = [.. options.StopTokens, end] }
            : options;
    }
}
