// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Tests.Tokens;

namespace KimiCpu.Tests.Chat;

/// <summary>What the events of an answer add up to. Adding checks their order: begun, arguments, ended, one call after another.</summary>
internal sealed class ParsedAnswer
{
    private string _arguments = "";
    private ToolCallBegun? _open;

    public string Reasoning { get; private set; } = "";

    public string Content { get; private set; } = "";

    public List<KimiToolCall> Calls { get; } = [];

    public KimiToolCall? Incomplete { get; private set; }

    public static ParsedAnswer Of(AnswerLayout layout, IEnumerable<int> tokens)
    {
        var parser = new AnswerParser(TokenizerCases.Tokenizer, layout);
        var answer = new ParsedAnswer();
        foreach (int token in tokens)
        {
            answer.Add(parser.Append(token));
        }

        answer.Add(parser.Finish(constrained: false));
        Assert.That(answer._open, Is.Null, "every call that begins ends");
        return answer;
    }

    public override string ToString() =>
        $"[{Reasoning}] [{Content}] {string.Join(", ", Calls.Select(c => $"{c.Id} {c.Name} {c.Arguments}"))} [{Incomplete}]";

    private void Add(IEnumerable<AnswerEvent> events)
    {
        foreach (AnswerEvent one in events)
        {
            switch (one)
            {
                case ReasoningText more:
                    Assert.That(Content.Length + Calls.Count, Is.Zero, "reasoning comes first");
                    Reasoning += NotEmpty(more.Text);
                    break;
                case ContentText more:
                    Assert.That(_open, Is.Null);
                    Content += NotEmpty(more.Text);
                    break;
                case CallEvent { Piece: var piece }:
                    Add(piece);
                    break;
            }
        }
    }

    private void Add(ToolCallPiece piece)
    {
        Assert.That(Incomplete, Is.Null, "nothing follows a call that was cut off");
        Assert.That(piece.Index, Is.EqualTo(Calls.Count));
        switch (piece)
        {
            case ToolCallBegun begun:
                Assert.That(_open, Is.Null);
                (_open, _arguments) = (begun, "");
                break;
            case ToolCallArguments more:
                Assert.That(_open, Is.Not.Null);
                _arguments += NotEmpty(more.Text);
                break;
            case ToolCallEnded ended:
                Assert.That(ended.Call, Is.EqualTo(new KimiToolCall(_open!.Id, _open.Name, _arguments)));
                Incomplete = ended.IsComplete ? null : ended.Call;
                Calls.AddRange(ended.IsComplete ? [ended.Call] : []);
                _open = null;
                break;
        }
    }

    private static string NotEmpty(string text)
    {
        Assert.That(text, Is.Not.Empty);
        return text;
    }
}
