// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu;

/// <summary>A request needs more tokens than the model's context or more bytes than the cache budget.</summary>
public sealed class ContextLengthException : KimiException
{
    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was needed, what there is, and what to do.</param>
    public ContextLengthException(string message)
        : base(message)
    {
    }

    /// <summary>Tokens of the prompt alone. Null where several calls together used up the cache.</summary>
    public int? PromptTokens { get; init; }

    /// <summary>Tokens that the prompt and its answer need at least: those of <see cref="Generation.GenerationOptions.MaxTokens"/>, or one where it is not set. Null where several calls together used up the cache.</summary>
    public int? NeededTokens { get; init; }

    /// <summary>Tokens that there are for one call. Null where several calls together used up the cache.</summary>
    public int? AvailableTokens { get; init; }

    /// <summary>What would raise <see cref="AvailableTokens"/>: a sentence, the last one of the message. Null where nothing would, and where several calls together used up the cache.</summary>
    public string? MoreRoom { get; init; }
}
