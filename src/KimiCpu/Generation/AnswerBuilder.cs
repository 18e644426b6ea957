// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Chat;
using KimiCpu.Tokens;

namespace KimiCpu.Generation;

/// <summary>
/// Builds one answer from its tokens: divides it, finds its end, keeps its reasoning within the budget, and looks for stop
/// sequences in the content. Each token gives one update; the updates add up to the result.
/// </summary>
internal sealed class AnswerBuilder
{
    /// <summary>A character has at most four bytes, so a thought over its budget is inside one for at most three tokens more.</summary>
    private const int LongestRest = 3;

    private readonly GenerationOptions _options;
    private readonly IReadOnlySet<int> _endTokens;
    private readonly AnswerMarkers _markers;
    private readonly AnswerParser _parser;
    private readonly StopMatcher _stops;
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _reasoning = new();
    private readonly List<int> _tokens = [];
    private readonly List<TokenLogProbability> _logProbabilities = [];
    private readonly List<KimiToolCall> _toolCalls = [];
    private int _thoughtTokens;

    /// <param name="tokenizer">Knows the tokens' texts.</param>
    /// <param name="options">Checked.</param>
    /// <param name="endTokens">Ids that end the answer.</param>
    /// <param name="layout">How the tokens are read.</param>
    public AnswerBuilder(KimiTokenizer tokenizer, GenerationOptions options, IReadOnlySet<int> endTokens, AnswerLayout layout)
    {
        _options = options;
        _endTokens = endTokens;
        _markers = layout.Markers;
        Vocabulary = tokenizer.VocabularySize;
        _parser = new AnswerParser(tokenizer, layout);
        _stops = new StopMatcher(options.StopSequences);
    }

    /// <summary>Tokens that have a text: ids run from 0 to this, exclusive.</summary>
    public int Vocabulary { get; }

    /// <summary>Whether the model ended its turn or a stop appeared.</summary>
    public bool Ended { get; private set; }

    public IReadOnlyList<int> Tokens => _tokens;

    public IReadOnlyList<TokenLogProbability> LogProbabilities => _logProbabilities;

    public int ReasoningTokens { get; private set; }

    /// <summary>The one that appeared; null for none.</summary>
    public string? StopSequence => _stops.Found;

    public string Text => _text.ToString();

    /// <summary>Null where the model did not reason.</summary>
    public string? Reasoning => _reasoning.Length > 0 ? _reasoning.ToString() : null;

    public IReadOnlyList<KimiToolCall> ToolCalls => _toolCalls;

    /// <summary>A call that the answer's end has cut off.</summary>
    public KimiToolCall? IncompleteToolCall { get; private set; }

    /// <summary>The token that must come next, whatever the model wants: it ends a reasoning that has used up its budget. Null for any.</summary>
    public int? ForcedToken =>
        _options.MaxReasoningTokens is { } budget && _parser.IsReasoning && _thoughtTokens >= budget
            && (!_parser.IsInsideCharacter || _thoughtTokens >= budget + (long)LongestRest)
            ? _markers.EndThink
            : null;

    /// <summary>Takes the next token.</summary>
    public GenerationUpdate Append(int token, TokenLogProbability? logProbability)
    {
        _tokens.Add(token);
        if (logProbability is not null)
        {
            _logProbabilities.Add(logProbability);
        }

        GenerationUpdate update = Read(token);
        return update with
        {
            Tokens = [token],
            LogProbabilities = logProbability is null ? [] : [logProbability],
        };
    }

    /// <summary>What was held back when the answer ended: an unfinished character or call, or the beginning of a stop sequence.</summary>
    public GenerationUpdate Flush()
    {
        GenerationUpdate update = Take(_parser.Finish(_options.Constraint is not null));
        string rest = _stops.Flush();
        _text.Append(rest);
        return update with { Text = update.Text + rest };
    }

    private GenerationUpdate Read(int token)
    {
        if (_options.StopTokens.Contains(token) || _endTokens.Contains(token))
        {
            Ended = !_options.IgnoreEndOfText || _options.StopTokens.Contains(token);
            if (!Ended)
            {
                Ignore();
            }

            // A call that a stop token ends is whole, whatever its arguments are.
            return _parser.EndsCall(token) ? Take(_parser.Append(token)) : new GenerationUpdate();
        }

        bool reasoned = _parser.IsReasoning;
        IReadOnlyList<AnswerEvent> events = _parser.Append(token);
        bool tag = token == _markers.EndThink || (token == _markers.Think && _tokens.Count == 1);
        ReasoningTokens += _parser.IsReasoning || (reasoned && tag) ? 1 : 0;
        _thoughtTokens += _parser.IsReasoning && !tag ? 1 : 0;
        return Take(events);
    }

    /// <summary>An end that is ignored shows nothing, but is one of the tokens that were generated where it stands.</summary>
    private void Ignore()
    {
        int thought = _parser.IsReasoning ? 1 : 0;
        ReasoningTokens += thought;
        _thoughtTokens += thought;
        _parser.Pass();
    }

    private GenerationUpdate Take(IReadOnlyList<AnswerEvent> events)
    {
        string text = "";
        string reasoning = "";
        List<ToolCallPiece>? pieces = null;
        foreach (AnswerEvent one in events)
        {
            switch (one)
            {
                case ReasoningText more:
                    reasoning += more.Text;
                    break;
                case ContentText more:
                    text += _stops.Append(more.Text);
                    break;
                case CallEvent call:
                    // No stop sequence reaches over a call.
                    text += _stops.Flush();
                    (pieces ??= []).Add(call.Piece);
                    Note(call.Piece);
                    break;
            }
        }

        Ended |= StopSequence is not null;
        _text.Append(text);
        _reasoning.Append(reasoning);
        return new GenerationUpdate { Text = text, Reasoning = reasoning, ToolCalls = pieces ?? (IReadOnlyList<ToolCallPiece>)[] };
    }

    private void Note(ToolCallPiece piece)
    {
        if (piece is ToolCallEnded { IsComplete: true } whole)
        {
            _toolCalls.Add(whole.Call);
        }
        else if (piece is ToolCallEnded cut)
        {
            IncompleteToolCall = cut.Call;
        }
    }
}
