// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

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

        string answer = maxTokens is { } most ? $"{most:N0} tokens of answer" : "an answer";
        string holder = Tokens < Context ? "that the cache budget holds" : Tokens < OfModel ? "of the context" : "of the model's context";
        string fewer = prompt < Tokens && maxTokens > 1 ? ", or ask for fewer tokens (MaxTokens)" : "";
        string more = Tokens < Context ? $" To have more, {MoreRoom}." : Tokens < OfModel ? $" KimiModelOptions.ContextLength raises the limit, up to {OfModel:N0}." : "";
        throw new ContextLengthException($"A prompt of {prompt:N0} tokens and {answer} do not fit the {Tokens:N0} tokens {holder}. Shorten the conversation{fewer}.{more}")
        {
            NeededTokens = (int)Math.Min(int.MaxValue, prompt + (long)(maxTokens ?? 1)),
            AvailableTokens = Tokens,
        };
    }
}
