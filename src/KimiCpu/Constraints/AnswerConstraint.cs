// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.CodeAnalysis;
using System.Text;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Constraints;

/// <summary>
/// Follows one answer token by token, through reasoning, content and tool calls, and forbids the tokens that cannot come next.
/// </summary>
internal sealed class AnswerConstraint
{
    private readonly KimiTokenizer _tokenizer;
    private readonly AnswerTokens _tokens;
    private readonly TokenAutomaton? _content;
    private readonly ToolCallConstraint? _tools;
    private readonly int[] _toolMarkers;
    private readonly List<(int Token, float Logit)> _kept = [];
    private readonly List<byte> _id = [];
    private Part _part;
    private TokenAutomaton? _automaton;
    private AutomatonState? _state;
    private bool _contentBegun;
    private int _position;
    private int _calls;

    /// <param name="tokenizer">Of the model.</param>
    /// <param name="tokens">The control tokens of the answer's format.</param>
    /// <param name="content">What the content may be; null for any text.</param>
    /// <param name="tools">Which tools may be called; null where tool calls are not watched.</param>
    public AnswerConstraint(KimiTokenizer tokenizer, AnswerTokens tokens, KimiConstraint? content, ToolCallConstraint? tools)
    {
        _tokenizer = tokenizer;
        _tokens = tokens;
        _content = content?.For(tokenizer);
        _tools = tools;
        _toolMarkers = tools is null ? [] : [tools.CallBegin, tools.ArgumentsBegin, tools.CallEnd, tools.SectionEnd];
        if (tokens.StartsThinking)
        {
            _part = Part.Reasoning;
        }
        else
        {
            BeginContent();
        }

        // On the caller's thread, so that no step of other calls waits for the largest mask.
        _ = _content?.MaskOf(_content.Start);
    }

    private enum Part
    {
        Reasoning,
        Content,
        Section,
        Id,
        Arguments,
        BetweenCalls,
        End,
    }

    /// <summary>Whether tools may be called now: not in the middle of a content that must become whole.</summary>
    private bool MayOpenSection => _tools is { MayCall: true } && (_calls == 0 || _tools.MayCallAgain) && (_content is null || !_contentBegun);

    /// <summary>Whether a call is still due. Behind an end that is ignored none is.</summary>
    [MemberNotNullWhen(true, nameof(_tools))]
    private bool MustCall => _tools is { IsDemanded: true } && _calls == 0;

    /// <summary>Sets the logits of tokens that cannot come next to negative infinity. At least one is left.</summary>
    /// <param name="logits">(vocabulary), the model's, which may be larger than the tokenizer's.</param>
    public void Mask(Span<float> logits)
    {
        // Rows that fill up the weights are no tokens, also where any text is allowed.
        logits[_tokenizer.VocabularySize..].Fill(float.NegativeInfinity);
        switch (_part)
        {
            case Part.Reasoning:
                MaskReasoning(logits);
                break;
            case Part.Content:
                MaskContent(logits);
                break;
            case Part.Section:
                KeepOnly(logits, [_tools!.CallBegin]);
                break;
            case Part.Id or Part.Arguments:
                MaskCall(logits, _part == Part.Id ? _tools!.ArgumentsBegin : _tools!.CallEnd);
                break;
            case Part.BetweenCalls:
                KeepOnly(logits, _tools!.MayCallAgain ? [_tools.CallBegin, _tools.SectionEnd] : [_tools.SectionEnd]);
                break;
            case Part.End:
                KeepOnly(logits, _tokens.End);
                break;
        }
    }

    /// <summary>Takes the token that was sampled.</summary>
    public void Advance(int token)
    {
        _position++;
        if (_tokens.End.Contains(token) && !_tokens.GoesOn)
        {
            _part = Part.End;
        }
        else if (_part == Part.End)
        {
            BeginContent();
        }
        else if (_part == Part.Reasoning && token == _tokens.EndThink)
        {
            BeginContent();
        }
        else if (_part == Part.Content && _position == 1 && token == _tokens.Think)
        {
            _part = Part.Reasoning;
        }
        else if (_part is Part.Reasoning or Part.Content && token == _tools?.SectionBegin)
        {
            _part = Part.Section;
        }
        else if (_part is Part.Section or Part.BetweenCalls)
        {
            BeginCallOrEnd(token);
        }
        else if (_part == Part.Id && token == _tools!.ArgumentsBegin)
        {
            string id = Encoding.UTF8.GetString([.. _id]);
            Follow(Part.Arguments, _tools.ArgumentsOf(id, _calls));
        }
        else if (_part == Part.Arguments && token == _tools!.CallEnd)
        {
            _calls++;
            _part = Part.BetweenCalls;
        }
        else if (_part != Part.Reasoning)
        {
            Read(token);
        }
    }

    private void BeginContent() => Follow(Part.Content, _content);

    private void BeginCallOrEnd(int token)
    {
        if (token == _tools!.CallBegin)
        {
            _id.Clear();
            Follow(Part.Id, _tools.Ids(_calls));
        }
        else
        {
            _part = Part.End;
        }
    }

    private void Follow(Part part, TokenAutomaton? automaton) => (_part, _automaton, _state) = (part, automaton, automaton?.Start);

    private void Read(int token)
    {
        if (_automaton is null || _tokenizer.IsSpecial(token))
        {
            return;
        }

        ReadOnlySpan<byte> bytes = _tokenizer.GetBytes(token);
        _state = _automaton.Read(_state!, bytes);
        _contentBegun |= _part == Part.Content;
        if (_part == Part.Id)
        {
            _id.AddRange(bytes);
        }
    }

    /// <summary>Reasoning is free, but an answer must not end in it that has something to obey.</summary>
    private void MaskReasoning(Span<float> logits)
    {
        if (_content is not null || MustCall)
        {
            foreach (int end in _tokens.End)
            {
                logits[end] = float.NegativeInfinity;
            }
        }

        Forbid(logits, _toolMarkers);
        if (_tools is { MayCall: false })
        {
            logits[_tools.SectionBegin] = float.NegativeInfinity;
        }
    }

    private void MaskContent(Span<float> logits)
    {
        IReadOnlyCollection<int> also = _position == 0 && _tokens.Think >= 0 && _tokens.MayThink ? [_tokens.Think] : [];
        if (MustCall)
        {
            KeepOnly(logits, [.. also, _tools.SectionBegin]);
        }
        else if (_automaton is not null)
        {
            MaskAutomaton(logits, _tokens.End, MayOpenSection ? [.. also, _tools!.SectionBegin] : also);
        }
        else
        {
            Forbid(logits, _toolMarkers);
            if (!MayOpenSection && _tools is not null)
            {
                logits[_tools.SectionBegin] = float.NegativeInfinity;
            }
        }
    }

    /// <summary>A part of a call: what its automaton allows, or any text where there is none, up to the token that ends it.</summary>
    private void MaskCall(Span<float> logits, int end)
    {
        if (_automaton is not null)
        {
            MaskAutomaton(logits, [end]);
            return;
        }

        Keep(logits, [end]);
        foreach (int special in _tokenizer.SpecialTokenIds.Values)
        {
            logits[special] = float.NegativeInfinity;
        }

        Restore(logits);
    }

    /// <param name="logits">(vocabulary).</param>
    /// <param name="atEnd">Tokens that may come where the text may end.</param>
    /// <param name="also">Tokens that may come in any case.</param>
    private void MaskAutomaton(Span<float> logits, IReadOnlyCollection<int> atEnd, IReadOnlyCollection<int>? also = null)
    {
        TokenMask mask = _automaton!.MaskOf(_state!);
        Keep(logits, _state!.Accepts ? [.. atEnd, .. also ?? []] : also ?? []);
        mask.Apply(logits);
        Restore(logits);
    }

    private void KeepOnly(Span<float> logits, IReadOnlyCollection<int> tokens)
    {
        Keep(logits, tokens);
        logits.Fill(float.NegativeInfinity);
        Restore(logits);
    }

    private void Keep(Span<float> logits, IReadOnlyCollection<int> tokens)
    {
        _kept.Clear();
        foreach (int token in tokens)
        {
            _kept.Add((token, logits[token]));
        }
    }

    private void Restore(Span<float> logits)
    {
        foreach ((int token, float logit) in _kept)
        {
            logits[token] = logit;
        }
    }

    private static void Forbid(Span<float> logits, ReadOnlySpan<int> tokens)
    {
        foreach (int token in tokens)
        {
            logits[token] = float.NegativeInfinity;
        }
    }
}
