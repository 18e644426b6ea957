// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Generation;
using KimiCpu.Tokens;

namespace KimiCpu.Server.Answers;

/// <summary>
/// Finds among the tokens of an answer those of its text: not those of the reasoning, of tool calls, and no control tokens.
/// Whether an answer begins with reasoning shows only with its first text, so the tokens before that are kept back. What a stop
/// sequence cuts off is no text of the answer.
/// </summary>
/// <param name="tokenizer">Of the model.</param>
/// <param name="stops">Sequences that end the answer.</param>
internal sealed class ContentTokens(KimiTokenizer tokenizer, IReadOnlyList<string> stops)
{
    private readonly int _endThink = tokenizer.TryGetSpecialToken("</think>", out int end) ? end : -1;
    private readonly int _calls = tokenizer.TryGetSpecialToken("<|tool_calls_section_begin|>", out int calls) ? calls : -1;
    private readonly ShownTokens _shown = new(tokenizer, stops);
    private readonly List<TokenLogProbability> _kept = [];
    private bool? _inContent;

    /// <summary>The tokens of the text that an update accounts for, and those that were kept back.</summary>
    public IReadOnlyList<TokenLogProbability> Of(GenerationUpdate update)
    {
        _kept.AddRange(update.LogProbabilities);
        if (_inContent is null)
        {
            // Not by the tags, which are text where an answer has no reasoning or a second one.
            _inContent = update.Reasoning.Length > 0 ? false
                : update.Text.Length > 0 || update.ToolCalls.Count > 0 || update.Result is not null ? true
                : null;
        }

        if (_inContent is null)
        {
            return [];
        }

        var content = new List<TokenLogProbability>();
        foreach (TokenLogProbability token in _kept)
        {
            if (token.Token == _calls)
            {
                _inContent = false;
            }
            else if (token.Token == _endThink)
            {
                _inContent = true;
            }
            else if (_inContent.Value && !tokenizer.IsSpecial(token.Token))
            {
                content.Add(token);
            }
        }

        _kept.Clear();
        return _shown.Of(content, update.Text, update.Result);
    }

    /// <summary>The tokens of a whole answer's text.</summary>
    public static IReadOnlyList<TokenLogProbability> Of(GenerationResult result, KimiTokenizer tokenizer, IReadOnlyList<string> stops) =>
        new ContentTokens(tokenizer, stops).Of(new GenerationUpdate { Reasoning = result.Reasoning ?? "", Text = result.Text, LogProbabilities = result.LogProbabilities, Result = result });
}
