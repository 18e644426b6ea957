// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using KimiCpu.Tokens;

namespace KimiCpu.Generation;

/// <summary>How the tokens of an answer are to be read.</summary>
/// <param name="EndTokens">Ids that end the answer.</param>
/// <param name="ThinkToken">Opens the reasoning at the start of an answer; -1 where nothing is split.</param>
/// <param name="EndThinkToken">Ends the reasoning; -1 where nothing is split.</param>
/// <param name="StartsThinking">Whether the prompt has opened the reasoning already.</param>
internal sealed record AnswerFormat(IReadOnlySet<int> EndTokens, int ThinkToken, int EndThinkToken, bool StartsThinking);

/// <summary>
/// Turns the tokens of one answer into text and reasoning, by ids and never by looking at text, and finds its end. Each
/// token gives one update; the updates' texts add up to the result's.
/// </summary>
internal sealed class AnswerBuilder
{
    private readonly KimiTokenizer _tokenizer;
    private readonly GenerationOptions _options;
    private readonly AnswerFormat _format;
    private readonly StopMatcher _stops;
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _reasoning = new();
    private readonly List<int> _tokens = [];
    private readonly List<TokenLogProbability> _logProbabilities = [];
    private TokenStreamDecoder _decoder;
    private bool _thinking;
    private bool _thought;

    public AnswerBuilder(KimiTokenizer tokenizer, GenerationOptions options, AnswerFormat format)
    {
        _tokenizer = tokenizer;
        _options = options;
        _format = format;
        _stops = new StopMatcher(options.StopSequences);
        _decoder = new TokenStreamDecoder(tokenizer);
        _thinking = format.StartsThinking;
        _thought = _thinking;
    }

    /// <summary>Whether the model ended its turn or a stop appeared.</summary>
    public bool Ended { get; private set; }

    public IReadOnlyList<int> Tokens => _tokens;

    public IReadOnlyList<TokenLogProbability> LogProbabilities => _logProbabilities;

    public int ReasoningTokens { get; private set; }

    public string Text => _text.ToString();

    /// <summary>Null where the model did not reason.</summary>
    public string? Reasoning => _thought ? _reasoning.ToString() : null;

    /// <summary>Takes the next token.</summary>
    public GenerationUpdate Append(int token, TokenLogProbability? logProbability)
    {
        _tokens.Add(token);
        if (logProbability is not null)
        {
            _logProbabilities.Add(logProbability);
        }

        (string text, string reasoning) = Read(token);
        _text.Append(text);
        _reasoning.Append(reasoning);
        return new GenerationUpdate
        {
            Text = text,
            Reasoning = reasoning,
            Tokens = [token],
            LogProbabilities = logProbability is null ? [] : [logProbability],
        };
    }

    /// <summary>What was held back when the answer ended: an unfinished character, or the beginning of a stop sequence.</summary>
    public (string Text, string Reasoning) Flush()
    {
        string rest = _decoder.Flush();
        (string text, string reasoning) = _thinking ? ("", rest) : (_stops.Append(rest) + _stops.Flush(), "");
        _text.Append(text);
        _reasoning.Append(reasoning);
        return (text, reasoning);
    }

    private (string Text, string Reasoning) Read(int token)
    {
        if (_thinking)
        {
            ReasoningTokens++;
        }

        if (_options.StopTokens.Contains(token) || _format.EndTokens.Contains(token))
        {
            Ended = !_options.IgnoreEndOfText || _options.StopTokens.Contains(token);
            return ("", "");
        }

        if (token == _format.ThinkToken && _tokens.Count == 1)
        {
            // A template that opens the reasoning itself may see the model open it once more.
            ReasoningTokens += _thinking ? 0 : 1;
            (_thinking, _thought) = (true, true);
            return ("", "");
        }

        if (_thinking && token == _format.EndThinkToken)
        {
            string rest = _decoder.Flush();
            _decoder = new TokenStreamDecoder(_tokenizer);
            _thinking = false;
            return ("", rest);
        }

        string piece = _decoder.Append(token);
        if (_thinking)
        {
            return ("", piece);
        }

        string text = _stops.Append(piece);
        Ended |= _stops.Stopped;
        return (text, "");
    }
}
