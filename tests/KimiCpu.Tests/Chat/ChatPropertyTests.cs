// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using FsCheck;
using FsCheck.Fluent;
using KimiCpu.Chat;
using KimiCpu.Generation;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Chat;

/// <summary>What holds for any text and any tokens.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class ChatPropertyTests
{
    private static readonly AnswerMarkers s_markers = new(Tokenizer);

    private static readonly int[] s_dividing =
    [
        s_markers.Think, s_markers.EndThink, s_markers.SectionBegin, s_markers.SectionEnd, s_markers.CallBegin, s_markers.ArgumentBegin, s_markers.CallEnd,
    ];

    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    /// <summary>Texts with control tokens' names in them, without unpaired surrogates, which no tokenizer keeps.</summary>
    private static Arbitrary<string> Texts => Gen.Elements(["x", " ", "\n", "é", "龘", "😀", "{\"a\": 1}", .. Tokenizer.SpecialTokenIds.Keys])
        .Or(ArbMap.Default.GeneratorFor<char>().Where(c => !char.IsSurrogate(c)).Select(c => c.ToString()))
        .ListOf().Select(string.Concat).ToArbitrary();

    /// <summary>Any tokens, half of them dividing ones, and pieces of calls.</summary>
    private static Arbitrary<int[]> Answers => Gen.Elements(s_dividing)
        .Or(Gen.Choose(0, Tokenizer.VocabularySize - 1)).Select(t => new[] { t })
        .Or(Gen.Elements("functions.f:0", "f", " ", "{}", "{\"a\": [1, 2]", "\n", "text").Select(t => Tokenizer.Encode(t)))
        .ListOf().Select(parts => parts.SelectMany(p => p).ToArray()).ToArbitrary();

    [Test]
    public void Any_text_comes_back_from_a_rendering() => Prop.ForAll(Texts, text =>
    {
        KimiMessage[] conversation =
        [
            KimiMessage.User(text),
            KimiMessage.Assistant(text, text) with { ToolCalls = [new KimiToolCall("id", "f", text)] },
            KimiMessage.Tool("id", text),
        ];
        int[] tokens = new ChatRenderer(Tokenizer, ChatFormat.K25).Render(conversation, new RenderOptions { GenerationPrompt = false });
        string expected = $"<|im_user|>user<|im_middle|>{text}<|im_end|><|im_assistant|>assistant<|im_middle|><think>{text}</think>{text}"
            + $"<|tool_calls_section_begin|><|tool_call_begin|>id<|tool_call_argument_begin|>{text}<|tool_call_end|><|tool_calls_section_end|><|im_end|>"
            + $"<|im_system|>tool<|im_middle|>## Return of id\n{text}<|im_end|>";
        return Tokenizer.Decode(tokens) == expected && tokens.Count(Tokenizer.IsSpecial) == 16;
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));

    [Test]
    public void What_is_rendered_is_parsed_back() => Prop.ForAll(Texts, Texts, (content, arguments) =>
    {
        string trimmed = arguments.Trim();
        KimiMessage answer = KimiMessage.Assistant(content, content) with { ToolCalls = [new KimiToolCall("functions.f:0", "f", arguments), new KimiToolCall("functions.g:1", "g", arguments)] };
        int[] tokens = new ChatRenderer(Tokenizer, ChatFormat.K25).Render([answer], new RenderOptions { GenerationPrompt = false });

        // Without <|im_assistant|>assistant<|im_middle|><think>, and without <|im_end|>.
        int[] written = tokens[(Array.IndexOf(tokens, s_markers.Think) + 1)..^1];
        ParsedAnswer parsed = ParsedAnswer.Of(new AnswerLayout(s_markers, ReasoningStart.Opened), written);
        return parsed.Reasoning == content && parsed.Content == content
            && parsed.Calls.Select(c => c.Arguments).SequenceEqual(Enumerable.Repeat(trimmed.Length == 0 ? "{}" : trimmed, 2));
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));

    /// <summary><see cref="ParsedAnswer"/> checks the events' order meanwhile.</summary>
    [Test]
    public void Any_tokens_are_parsed_and_no_text_is_invented() => Prop.ForAll(Answers, tokens =>
    {
        foreach (ReasoningStart start in Enum.GetValues<ReasoningStart>())
        {
            ParsedAnswer answer = ParsedAnswer.Of(new AnswerLayout(s_markers, start), tokens);
            string written = answer.Reasoning + answer.Content + string.Concat(answer.Calls.Append(answer.Incomplete).Select(c => c?.Arguments));
            string all = Tokenizer.Decode(tokens) + "{}";
            Assert.That(written.Where(c => c != '\ufffd').GroupBy(c => c).All(g => g.Count() <= all.Count(c => c == g.Key) + (g.Key is '{' or '}' ? tokens.Length : 0)), Is.True);
        }
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));

    [Test]
    public void Generated_tokens_never_change_what_a_conversation_says() => Prop.ForAll(Answers, tokens =>
    {
        ParsedAnswer answer = ParsedAnswer.Of(new AnswerLayout(s_markers, ReasoningStart.Opened), tokens);
        KimiMessage message = KimiMessage.Assistant(answer.Content, answer.Reasoning) with { ToolCalls = answer.Calls };
        var renderer = new ChatRenderer(Tokenizer, ChatFormat.K25);
        int[] encoded = renderer.Render([message], new RenderOptions());
        int[] shown = renderer.Render([message with { GeneratedTokens = tokens }], new RenderOptions());
        Assert.That(Tokenizer.DecodeBytes(shown), Is.EqualTo(Tokenizer.DecodeBytes(encoded)));
        Assert.That(shown.Where(Tokenizer.IsSpecial), Is.EqualTo(encoded.Where(Tokenizer.IsSpecial)));
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));

    [Test]
    public void Text_without_calls_is_kept_whole() => Prop.ForAll(Texts, text =>
    {
        ParsedAnswer plain = ParsedAnswer.Of(new AnswerLayout(s_markers, ReasoningStart.None), Tokenizer.Encode(text));
        ParsedAnswer bytes = ParsedAnswer.Of(new AnswerLayout(s_markers, ReasoningStart.Opened), System.Text.Encoding.UTF8.GetBytes(text).Select(b => Tokenizer.Encode([b])[0]));
        return plain.Content == text && bytes.Reasoning == text;
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));

    /// <summary>The pieces of the updates add up to the result, and the budget closes every reasoning.</summary>
    [Test]
    public void Updates_add_up_to_the_answer() => Prop.ForAll(Answers, Gen.Choose(0, 6).ToArbitrary(), (tokens, budget) =>
    {
        var options = new GenerationOptions { MaxReasoningTokens = budget, StopSequences = ["tex", "}1"] };
        var answer = new AnswerBuilder(Tokenizer, options, new HashSet<int>(), new AnswerLayout(s_markers, ReasoningStart.Opened));
        var updates = new List<GenerationUpdate>();
        foreach (int token in tokens.TakeWhile(_ => !answer.Ended))
        {
            updates.Add(answer.Append(answer.ForcedToken ?? token, null));
        }

        updates.Add(answer.Flush());
        Assert.That(string.Concat(updates.Select(u => u.Text)), Is.EqualTo(answer.Text));
        Assert.That(string.Concat(updates.Select(u => u.Reasoning)), Is.EqualTo(answer.Reasoning ?? ""));
        Assert.That(updates.SelectMany(u => u.ToolCalls).OfType<ToolCallEnded>().Where(c => c.IsComplete).Select(c => c.Call), Is.EqualTo(answer.ToolCalls));
        Assert.That(answer.ReasoningTokens, Is.LessThanOrEqualTo(budget + 5), "three more within a character, and the tags");
        Assert.That(answer.Text, Does.Not.Contain("tex"));
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));

    [Test]
    public void Any_JSON_is_read_or_refused_as_a_conversation() => Prop.ForAll(Texts, Gen.Choose(0, int.MaxValue).ToArbitrary(), (text, seed) =>
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(new { messages = new[] { new { role = text, content = text, tool_call_id = text } }, tools = new[] { new { function = new { name = "f" + text } } } });
        Assert.That(ConversationJson.Read(json).Messages.Single().Content, Is.EqualTo(text));
        var random = new System.Random(seed);
        json[random.Next(json.Length)] = (byte)random.Next(256);
        try
        {
            Conversation conversation = ConversationJson.Read(json);
            _ = new ChatRenderer(Tokenizer, ChatFormat.K25).Render(conversation.Messages, new RenderOptions { Tools = conversation.Tools });
        }
        catch (Exception e) when (e is FormatException or NotSupportedException or ArgumentException)
        {
            Assert.That(e.Message, Is.Not.Empty);
        }
    }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));
}
