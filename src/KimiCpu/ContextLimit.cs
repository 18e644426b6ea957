// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;

namespace KimiCpu;

/// <summary>Most tokens of a prompt and its answer, and why there are not more.</summary>
/// <param name="Tokens">At most so many.</param>
/// <param name="Context">What <see cref="KimiModelOptions.ContextLength"/> and the model allow.</param>
/// <param name="OfModel">What the model allows.</param>
/// <param name="MoreRoom">What raises <paramref name="Tokens"/> where the cache has fewer than the context; see <see cref="Model.KvCache.MoreRoom"/>.</param>
internal readonly record struct ContextLimit(int Tokens, int Context, int OfModel, string MoreRoom)
{
    /// <param name="prompt">Tokens of a prompt.</param>
    /// <param name="maxTokens">Most tokens of its answer; null where as many as fit are wanted.</param>
    /// <exception cref="ContextLengthException">There is no room for them.</exception>
    public void Check(int prompt, int? maxTokens)
    {
        if (prompt < Tokens && !(maxTokens > Tokens - prompt))
        {
            return;
        }

        string answer = maxTokens is { } most ? string.Create(CultureInfo.InvariantCulture, $"{most} tokens of answer") : "an answer";
        string holder = Tokens < Context ? "that the cache budget holds" : Tokens < OfModel ? "of the context" : "of the model's context";
        string fewer = prompt < Tokens && maxTokens > 1 ? ", or ask for fewer tokens (MaxTokens)" : "";
        string? more = Tokens < Context ? $"To have more, {MoreRoom}."
            : Tokens < OfModel ? string.Create(CultureInfo.InvariantCulture, $"KimiModelOptions.ContextLength raises the limit, up to {OfModel}.")
            : null;
        string needed = string.Create(CultureInfo.InvariantCulture, $"A prompt of {prompt} tokens and {answer} do not fit the {Tokens} tokens {holder}.");
        throw new ContextLengthException($"{needed} Shorten the conversation{fewer}.{(more is null ? "" : $" {more}")}")
        {
            PromptTokens = prompt,
            NeededTokens = (int)Math.Min(int.MaxValue, prompt + (long)(maxTokens ?? 1)),
            AvailableTokens = Tokens,
            MoreRoom = more,
        };
    }
}
