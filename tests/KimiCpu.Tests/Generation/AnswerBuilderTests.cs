// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Generation;

[TestFixture]
internal sealed class AnswerBuilderTests
{
    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    private static int Think => Id("<think>");

    private static int EndThink => Id("</think>");

    private static int End => Id("<|im_end|>");

    [Test]
    public void Stop_sequences_are_found_across_tokens_and_never_shown()
    {
        const string Text = "one two END three";
        foreach (string stop in new[] { "END", " END", "two", "o", "D th", "three" })
        {
            (string text, string _, AnswerBuilder answer) = Run(Text, new GenerationOptions { StopSequences = ["never", stop] }, startsThinking: false);
            Assert.That(text, Is.EqualTo(Text[..Text.IndexOf(stop, StringComparison.Ordinal)]), stop);
            Assert.That(answer.Ended);
        }
    }

    [Test]
    public void A_stop_sequence_of_a_character_beyond_the_first_65536_is_found_whole()
    {
        (string text, _, AnswerBuilder answer) = Run("so 😂 and 😀 on", new GenerationOptions { StopSequences = ["😀"] }, startsThinking: false);
        Assert.That(text, Is.EqualTo("so 😂 and "));
        Assert.That(answer.Ended);
    }

    [Test]
    public void What_only_begins_like_a_stop_sequence_is_shown_in_the_end()
    {
        (string text, _, AnswerBuilder answer) = Run("abc ENabc EN", new GenerationOptions { StopSequences = ["END"] }, startsThinking: false);
        Assert.That(text, Is.EqualTo("abc ENabc EN"));
        Assert.That(answer.Ended, Is.False);
    }

    [Test]
    public void Reasoning_is_split_by_ids_and_stop_sequences_do_not_count_in_it()
    {
        var answer = Builder(new GenerationOptions { StopSequences = ["END"] }, startsThinking: true);
        int[] tokens = [.. Tokenizer.Encode("thinks END </think> on"), EndThink, .. Tokenizer.Encode("says </think>"), End];
        (string text, string reasoning) = Feed(answer, tokens);
        Assert.That(reasoning, Is.EqualTo("thinks END </think> on"));
        Assert.That(text, Is.EqualTo("says </think>"));
        Assert.That((answer.Text, answer.Reasoning), Is.EqualTo((text, reasoning)));
        Assert.That(answer.Ended);
        Assert.That(answer.ReasoningTokens, Is.EqualTo(Array.IndexOf(tokens, EndThink) + 1));
    }

    [Test]
    public void A_model_may_open_its_reasoning_itself()
    {
        var answer = Builder(new GenerationOptions(), startsThinking: false);
        (string text, string reasoning) = Feed(answer, [Think, .. Tokenizer.Encode("hm"), EndThink, .. Tokenizer.Encode("yes")]);
        Assert.That((text, reasoning), Is.EqualTo(("yes", "hm")));
        var plain = Builder(new GenerationOptions(), startsThinking: false);
        Assert.That(Feed(plain, Tokenizer.Encode("yes")).Text, Is.EqualTo("yes"));
        Assert.That(plain.Reasoning, Is.Null);
    }

    [Test]
    public void Unfinished_reasoning_is_all_reasoning()
    {
        var answer = Builder(new GenerationOptions(), startsThinking: true);
        Assert.That(Feed(answer, Tokenizer.Encode("never ends")), Is.EqualTo(("", "never ends")));
    }

    [Test]
    public void Characters_cut_by_tokens_come_whole_also_at_the_end_of_reasoning()
    {
        int[] halves = Tokenizer.Encode("龘");
        Assert.That(halves, Has.Length.GreaterThan(1));
        var answer = Builder(new GenerationOptions(), startsThinking: true);
        (string text, string reasoning) = Feed(answer, [halves[0], EndThink, .. halves, halves[0]]);
        Assert.That(reasoning, Is.EqualTo("\ufffd"));
        Assert.That(text, Is.EqualTo("龘\ufffd"));
    }

    /// <summary>What stands for half of a character is the beginning of no text that a constraint allows.</summary>
    [Test]
    public void Half_of_a_character_is_left_out_where_an_allowed_text_is_cut()
    {
        int[] bytes = [.. System.Text.Encoding.UTF8.GetBytes("é😀").Select(b => Tokenizer.Encode([b])[0])];
        AnswerBuilder content = Builder(new GenerationOptions { Constraint = KimiConstraint.Choice(["é😀"]) }, startsThinking: false);
        Assert.That(Feed(content, bytes[..^1]).Text, Is.EqualTo("é"));
        Assert.That((content.Text, content.Tokens.Count), Is.EqualTo(("é", bytes.Length - 1)));
        AnswerBuilder arguments = Builder(new GenerationOptions(), startsThinking: false);
        Feed(arguments, [.. Tokenizer.Encode("<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\":\"", allowSpecial: true), .. bytes[..^1]]);
        Assert.That(arguments.IncompleteToolCall!.Arguments, Is.EqualTo("{\"a\":\"é"));
        AnswerBuilder behind = Builder(new GenerationOptions(), startsThinking: false);
        Feed(behind, [.. Tokenizer.Encode("<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}", allowSpecial: true), bytes[0]]);
        Assert.That(behind.IncompleteToolCall!.Arguments, Is.EqualTo("{}"), "not whole: there was more");
    }

    [Test]
    public void End_tokens_end_unless_ignored_and_are_not_shown()
    {
        var ended = Builder(new GenerationOptions(), startsThinking: false);
        Feed(ended, [End]);
        Assert.That(ended.Ended);
        var ignored = Builder(new GenerationOptions { IgnoreEndOfText = true }, startsThinking: false);
        Assert.That(Feed(ignored, [.. Tokenizer.Encode("a"), End, .. Tokenizer.Encode("b")]).Text, Is.EqualTo("ab"));
        Assert.That(ignored.Ended, Is.False);
        var own = Builder(new GenerationOptions { IgnoreEndOfText = true, StopTokens = [7] }, startsThinking: false);
        Feed(own, [7]);
        Assert.That(own.Ended);
    }

    [Test]
    public void A_reasoning_over_its_budget_is_closed()
    {
        int[] thought = Tokenizer.Encode("one two three four");
        foreach (int budget in new[] { 0, 1, 3, thought.Length, thought.Length + 1 })
        {
            AnswerBuilder answer = Builder(new GenerationOptions { MaxReasoningTokens = budget }, startsThinking: true);
            int taken = FeedUntilForced(answer, thought);
            Assert.That(taken, Is.EqualTo(Math.Min(budget, thought.Length)));
            Assert.That(answer.ForcedToken, Is.EqualTo(budget <= thought.Length ? EndThink : (int?)null));
            if (budget <= thought.Length)
            {
                answer.Append(EndThink, null);
                Assert.That(answer.ForcedToken, Is.Null, "once is enough");
                Assert.That(Feed(answer, Tokenizer.Encode("so")).Text, Is.EqualTo("so"));
                Assert.That(answer.Reasoning ?? "", Is.EqualTo(Tokenizer.Decode(thought.AsSpan(0, taken))));
                Assert.That(answer.ReasoningTokens, Is.EqualTo(taken + 1));
            }
        }
    }

    /// <summary>A model that has ended its turn once tends to do it again and again, which would fill the whole context.</summary>
    [Test]
    public void Ends_that_are_ignored_within_a_reasoning_use_up_its_budget()
    {
        AnswerBuilder answer = Builder(new GenerationOptions { IgnoreEndOfText = true, MaxReasoningTokens = 2 }, startsThinking: true);
        Assert.That(FeedUntilForced(answer, [End, End, End]), Is.EqualTo(2));
        Assert.That((answer.ForcedToken, answer.ReasoningTokens, answer.Ended), Is.EqualTo(((int?)EndThink, 2, false)));
        answer.Append(EndThink, null);
        answer.Append(End, null);
        Assert.That((answer.ForcedToken, answer.ReasoningTokens), Is.EqualTo(((int?)null, 3)), "the answer has no budget");
    }

    [Test]
    public void No_reasoning_begins_behind_an_end_that_was_ignored()
    {
        AnswerBuilder answer = Builder(new GenerationOptions { IgnoreEndOfText = true }, startsThinking: false);
        Assert.That(Feed(answer, [End, Think, .. Tokenizer.Encode("hm")]), Is.EqualTo(("<think>hm", "")));
        Assert.That(answer.ReasoningTokens, Is.Zero);
    }

    [Test]
    public void A_reasoning_is_not_closed_within_a_character_nor_outside_of_it()
    {
        int[] halves = [.. System.Text.Encoding.UTF8.GetBytes("😀").Select(b => Tokenizer.Encode([b])[0])];
        AnswerBuilder whole = Builder(new GenerationOptions { MaxReasoningTokens = 1 }, startsThinking: true);
        Assert.That(FeedUntilForced(whole, [.. halves, .. halves]), Is.EqualTo(4));
        Assert.That(whole.Reasoning, Is.EqualTo("😀"));
        AnswerBuilder broken = Builder(new GenerationOptions { MaxReasoningTokens = 1 }, startsThinking: true);
        Assert.That(FeedUntilForced(broken, [.. Enumerable.Repeat(halves[0], 9)]), Is.EqualTo(4), "a character that never ends");

        // The model opens its reasoning itself, or does not; calls end it.
        AnswerBuilder own = Builder(new GenerationOptions { MaxReasoningTokens = 0 }, startsThinking: false);
        Assert.That(own.ForcedToken, Is.Null);
        own.Append(Think, null);
        Assert.That(own.ForcedToken, Is.EqualTo(EndThink));
        AnswerBuilder none = Builder(new GenerationOptions { MaxReasoningTokens = 0 }, startsThinking: false);
        Assert.That(FeedUntilForced(none, Tokenizer.Encode("says this")), Is.EqualTo(Tokenizer.Encode("says this").Length));
        AnswerBuilder calling = Builder(new GenerationOptions { MaxReasoningTokens = 1 }, startsThinking: true);
        calling.Append(Id("<|tool_calls_section_begin|>"), null);
        Assert.That(calling.ForcedToken, Is.Null);
    }

    [Test]
    public void Calls_come_in_pieces_and_stop_sequences_do_not_count_in_them()
    {
        AnswerBuilder answer = Builder(new GenerationOptions { StopSequences = ["END"] }, startsThinking: true);
        const string Text = "hm</think>see EN<|tool_calls_section_begin|><|tool_call_begin|>functions.END:0<|tool_call_argument_begin|>{\"a\": \"END\"}<|tool_call_end|><|tool_calls_section_end|>D<|tool_call_begin|>g:1<|tool_call_argument_begin|>{\"b";
        List<GenerationUpdate> updates = [.. Tokenizer.Encode(Text, allowSpecial: true).Select(t => answer.Append(t, null)), answer.Flush()];
        Assert.That((answer.Reasoning, answer.Text, answer.Ended), Is.EqualTo(("hm", "see END", false)));
        Assert.That(answer.ToolCalls, Is.EqualTo(new[] { new KimiToolCall("functions.END:0", "END", "{\"a\": \"END\"}") }));
        Assert.That(answer.IncompleteToolCall, Is.EqualTo(new KimiToolCall("g:1", "g", "{\"b")));
        ToolCallPiece[] pieces = [.. updates.SelectMany(u => u.ToolCalls)];
        Assert.That(pieces[0], Is.EqualTo(new ToolCallBegun(0, "functions.END:0", "END")));
        Assert.That(string.Concat(pieces.OfType<ToolCallArguments>().Where(p => p.Index == 0).Select(p => p.Text)), Is.EqualTo("{\"a\": \"END\"}"));
        Assert.That(pieces[^1], Is.EqualTo(new ToolCallEnded(1, answer.IncompleteToolCall!, IsComplete: false)));
        int begun = updates.FindIndex(u => u.ToolCalls.Count > 0);
        Assert.That(string.Concat(updates.Take(begun + 1).Select(u => u.Text)), Is.EqualTo("see EN"), "held text comes before the call");
    }

    [TestCase("functions.f:0<|tool_call_argument_begin|>", "{}", Description = "A tool without parameters is called without arguments.")]
    [TestCase("functions.f:0", "{}")]
    [TestCase("functions.f:0<|tool_call_argument_begin|>as it likes", "as it likes")]
    [TestCase("functions.f:0<|tool_call_argument_begin|>{\"a\": 1}", "{\"a\": 1}")]
    public void A_call_that_a_stop_token_ends_is_whole(string call, string arguments)
    {
        AnswerBuilder answer = Builder(new GenerationOptions { StopTokens = [Id("<|tool_call_end|>")] }, startsThinking: false);
        GenerationUpdate[] updates = [.. Tokenizer.Encode($"<|tool_calls_section_begin|><|tool_call_begin|>{call}<|tool_call_end|>", allowSpecial: true).Select(t => answer.Append(t, null)), answer.Flush()];
        var expected = new KimiToolCall("functions.f:0", "f", arguments);
        Assert.That(answer.Ended);
        Assert.That(answer.ToolCalls, Is.EqualTo(new[] { expected }));
        Assert.That(answer.IncompleteToolCall, Is.Null);
        Assert.That(updates.SelectMany(u => u.ToolCalls).Last(), Is.EqualTo(new ToolCallEnded(0, expected, IsComplete: true)));
    }

    [Test]
    public void A_stop_token_outside_of_calls_is_not_shown([Values] bool thinking)
    {
        AnswerBuilder answer = Builder(new GenerationOptions { StopTokens = [Id("<|tool_call_end|>")] }, thinking);
        Assert.That(Feed(answer, Tokenizer.Encode("hm<|tool_call_end|>", allowSpecial: true)), Is.EqualTo(thinking ? ("", "hm") : ("hm", "")));
        Assert.That(answer.Ended);
    }

    private static int FeedUntilForced(AnswerBuilder answer, int[] tokens)
    {
        int taken = 0;
        while (taken < tokens.Length && answer.ForcedToken is null)
        {
            answer.Append(tokens[taken++], null);
        }

        return taken;
    }

    private static int Id(string name)
    {
        Assert.That(Tokenizer.TryGetSpecialToken(name, out int id));
        return id;
    }

    private static AnswerBuilder Builder(GenerationOptions options, bool startsThinking) =>
        new(Tokenizer, options, new HashSet<int> { End }, new AnswerLayout(new AnswerMarkers(Tokenizer), startsThinking ? ReasoningStart.Opened : ReasoningStart.ByModel));

    private static (string Text, string Reasoning, AnswerBuilder Answer) Run(string text, GenerationOptions options, bool startsThinking)
    {
        AnswerBuilder answer = Builder(options, startsThinking);

        // Single bytes as tokens: the finest possible cut.
        (string shown, string reasoning) = Feed(answer, [.. System.Text.Encoding.UTF8.GetBytes(text).Select(b => Tokenizer.Encode([b])[0])]);
        return (shown, reasoning, answer);
    }

    private static (string Text, string Reasoning) Feed(AnswerBuilder answer, int[] tokens)
    {
        string text = "";
        string reasoning = "";
        foreach (int token in tokens.TakeWhile(_ => !answer.Ended))
        {
            GenerationUpdate update = answer.Append(token, null);
            text += update.Text;
            reasoning += update.Reasoning;
        }

        GenerationUpdate last = answer.Flush();
        return (text + last.Text, reasoning + last.Reasoning);
    }
}
