// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

namespace KimiCpu.Server.Http;

/// <summary>A prompt and an answer that together are longer than the context.</summary>
/// <param name="Prompt">Tokens of the prompt.</param>
/// <param name="Answer">Tokens that the answer was to have at most, or the one that it has at least.</param>
/// <param name="Limit">Tokens that there are for both.</param>
/// <param name="More">What would raise the limit, as a sentence; null where nothing would.</param>
internal sealed record ContextOverflow(int Prompt, int Answer, int Limit, string? More)
{
    /// <summary>The short name of the problem, in OpenAI's words.</summary>
    public const string Code = "context_length_exceeded";

    /// <summary>Whether the prompt leaves no room for any answer, so that to ask for a shorter one would not help.</summary>
    public bool IsOfPromptAlone => Prompt >= Limit;

    /// <summary>Tokens of both.</summary>
    public long Needed => (long)Prompt + Answer;

    /// <summary>A message that ends with what would raise the limit.</summary>
    /// <param name="message">The rest of it.</param>
    public string With(FormattableString message) => FormattableString.Invariant(message) + (More is null ? "" : $" {More}");
}
