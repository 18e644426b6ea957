// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>The tokens of the text are those of what the parser takes for text, sent at once or piece by piece.</summary>
[TestFixture]
internal sealed class ContentTokensTests
{
    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    [TestCase("<think>why</think>so", ReasoningStart.ByModel, "why", "so")]
    [TestCase("<think></think>so", ReasoningStart.ByModel, "", "so")]
    [TestCase("so</think>and so", ReasoningStart.ByModel, "", "soand so")]
    [TestCase("so<think>and so", ReasoningStart.ByModel, "", "soand so")]
    [TestCase("why</think>so", ReasoningStart.Opened, "why", "so")]
    [TestCase("why</think>so<think>and</think>so", ReasoningStart.Opened, "why", "soandso")]
    [TestCase("</think>so", ReasoningStart.Opened, "", "so")]
    [TestCase("why", ReasoningStart.Opened, "why", "")]
    [TestCase("<think>so</think>and so", ReasoningStart.None, "", "soand so")]
    [TestCase("so<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>", ReasoningStart.None, "", "so")]
    public void Tags_that_the_parser_takes_for_text_hide_no_tokens(string answer, object start, string reasoning, string expected)
    {
        GenerationUpdate[] updates = Parse(answer, (ReasoningStart)start);
        GenerationResult result = updates[^1].Result!;
        Assert.That(result.Reasoning ?? "", Is.EqualTo(reasoning));
        Assert.That(Text(ContentTokens.Of(result, Tokenizer, [])), Is.EqualTo(expected));
        var streamed = new ContentTokens(Tokenizer, []);
        Assert.That(Text([.. updates.SelectMany(streamed.Of)]), Is.EqualTo(expected), "the same list as a whole answer has");
    }

    private static string Text(IReadOnlyList<TokenLogProbability> tokens) => Tokenizer.Decode([.. tokens.Select(t => t.Token)]);

    /// <summary>An update for each token, and the last one with the whole answer.</summary>
    private static GenerationUpdate[] Parse(string answer, ReasoningStart start)
    {
        int[] tokens = Tokenizer.Encode(answer, allowSpecial: true);
        var parser = new AnswerParser(Tokenizer, new AnswerLayout(new AnswerMarkers(Tokenizer), start));
        List<GenerationUpdate> updates = [.. tokens.Select(t => Update(parser.Append(t)) with { LogProbabilities = [new TokenLogProbability(t, -1, [])] })];
        updates.Add(Update(parser.Finish(constrained: false)));
        updates[^1] = updates[^1] with
        {
            Result = new GenerationResult
            {
                Text = string.Concat(updates.Select(u => u.Text)),
                Reasoning = string.Concat(updates.Select(u => u.Reasoning)) is { Length: > 0 } reasoning ? reasoning : null,
                Tokens = tokens,
                LogProbabilities = [.. updates.SelectMany(u => u.LogProbabilities)],
                FinishReason = FinishReason.Stop,
                Usage = new GenerationUsage(1, tokens.Length, 0),
                Timings = new GenerationTimings(TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero),
            },
        };
        return [.. updates];
    }

    private static GenerationUpdate Update(IReadOnlyList<AnswerEvent> events) => new()
    {
        Text = string.Concat(events.OfType<ContentText>().Select(e => e.Text)),
        Reasoning = string.Concat(events.OfType<ReasoningText>().Select(e => e.Text)),
        ToolCalls = [.. events.OfType<CallEvent>().Select(e => e.Piece)],
    };
}
