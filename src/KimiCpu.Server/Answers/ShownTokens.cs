// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu.Server.Answers;

/// <summary>
/// Lets tokens out with the text that they belong to: what could be the beginning of a stop sequence is held back, and a token
/// whose text a stop sequence has cut off is never let out. Without stop sequences all go through as they come.
/// </summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="stops">Sequences that end the answer.</param>
internal sealed class ShownTokens(KimiTokenizer tokenizer, IReadOnlyList<string> stops)
{
    private readonly TokenStreamDecoder _decoder = new(tokenizer);
    private readonly Queue<(TokenLogProbability Token, long Start)> _held = new();
    private long _length;
    private long _shown;

    /// <summary>The tokens of a whole text.</summary>
    public static IReadOnlyList<TokenLogProbability> Of(GenerationResult result, KimiTokenizer tokenizer, IReadOnlyList<string> stops) =>
        new ShownTokens(tokenizer, stops).Of(result.LogProbabilities, result.Text, result);

    /// <param name="tokens">That came next.</param>
    /// <param name="text">That is shown next.</param>
    /// <param name="result">Set once the answer has ended.</param>
    public IReadOnlyList<TokenLogProbability> Of(IReadOnlyList<TokenLogProbability> tokens, string text, GenerationResult? result)
    {
        if (stops.Count == 0)
        {
            return tokens;
        }

        foreach (TokenLogProbability token in tokens)
        {
            _held.Enqueue((token, _length));

            // Control tokens may show nothing; counted as nothing they hold no later token back.
            _length += tokenizer.IsSpecial(token.Token) ? 0 : _decoder.Append(token.Token).Length;
        }

        _shown += text.Length;
        bool all = result is { StopSequence: null };
        var shown = new List<TokenLogProbability>();
        while (_held.TryPeek(out (TokenLogProbability Token, long Start) next) && (all || next.Start < _shown))
        {
            shown.Add(_held.Dequeue().Token);
        }

        return shown;
    }
}
