// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Chat;

/// <summary>The cases of Fixtures/parser, whose expectations are written by hand.</summary>
[TestFixture]
internal sealed class AnswerParserTests
{
    private static readonly AnswerMarkers s_markers = new(Tokenizer);

    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    public sealed record ParserCase(string Name, string Text, bool Thinking, string[] Tools, string[][] Chunks, string? Reasoning, string? Content, KimiToolCall[] Calls, KimiToolCall? Incomplete)
    {
        public override string ToString() => Name;
    }

    public static IEnumerable<ParserCase> Cases()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("parser", "public", "cases.json")));
        foreach (JsonElement item in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            JsonElement expected = item.GetProperty("expected");
            JsonElement incomplete = expected.GetProperty("incomplete_call");
            yield return new ParserCase(
                item.GetProperty("name").GetString()!,
                item.GetProperty("text").GetString()!,
                item.GetProperty("thinking").GetBoolean(),
                item.TryGetProperty("tools", out JsonElement tools) ? Strings(tools) : [],
                [.. item.GetProperty("chunks").EnumerateObject().Select(c => Strings(c.Value))],
                expected.GetProperty("reasoning").GetString(),
                expected.GetProperty("content").GetString(),
                [.. expected.GetProperty("tool_calls").EnumerateArray().Select(ReadCall)],
                incomplete.ValueKind == JsonValueKind.Null ? null : ReadCall(incomplete));
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void Answers_are_divided_as_expected(ParserCase item)
    {
        // The tokenizers of the family have no token <|tool_call_section_begin|>, so a model can only spell it.
        string sections = item.Text.Contains("<|tool_call_section_", StringComparison.Ordinal) ? "<|tool_call_section_begin|>" : "";
        AnswerLayout layout = Layout(item.Thinking) with { ToolNames = item.Tools.ToHashSet() };
        foreach (int[] tokens in Cuts(item))
        {
            ParsedAnswer found = ParsedAnswer.Of(layout, tokens);
            Assert.That(found.Reasoning, Is.EqualTo(item.Reasoning ?? ""));
            Assert.That(found.Content, Is.EqualTo((item.Content ?? "") + sections));
            Assert.That(found.Calls, Is.EqualTo(item.Calls));
            Assert.That(found.Incomplete, Is.EqualTo(item.Incomplete));
        }
    }

    [Test]
    public void All_cases_are_there() => Assert.That(Cases().Count(), Is.EqualTo(26));

    [TestCase("<think>a</think>b", "[a] [b]", ReasoningStart.ByModel)]
    [TestCase("a</think>b", "[] [a</think>b]", ReasoningStart.ByModel)]
    [TestCase("<think>a</think>b", "[] [<think>a</think>b]", ReasoningStart.None)]
    [TestCase("<think><think>a</think>b", "[<think>a] [b]", ReasoningStart.Opened)]
    [TestCase("a<|tool_call_begin|>f:0<|tool_call_argument_begin|>{}<|tool_call_end|>x<|tool_calls_section_end|> y", "[a] [ y] f:0 f {}", ReasoningStart.Opened)]
    [TestCase("<|tool_call_begin|>f<|tool_call_begin|>g<|tool_calls_section_end|>", "[] [] functions.f:0 f {}, functions.g:1 g {}", ReasoningStart.None)]
    [TestCase("<|tool_call_begin|> <|tool_call_end|><|tool_call_begin|>cut of", "[] []", ReasoningStart.None)]
    [TestCase("<|tool_call_begin|>f:0<|tool_call_argument_begin|>[1] ", "[] [] f:0 f [1]", ReasoningStart.None)]
    [TestCase("a<|tool_call_argument_begin|><|im_user|>b", "[] [a<|tool_call_argument_begin|><|im_user|>b]", ReasoningStart.None)]
    public void Divides(string text, string expected, object start) =>
        Assert.That(ParsedAnswer.Of(new AnswerLayout(s_markers, (ReasoningStart)start), Tokenizer.Encode(text, allowSpecial: true)).ToString(), Does.StartWith(expected));

    [Test]
    public void Ids_without_an_index_go_on_counting()
    {
        AnswerLayout layout = Layout(thinking: false) with { FirstCallIndex = 3 };
        ParsedAnswer answer = ParsedAnswer.Of(layout, Tokenizer.Encode("<|tool_call_begin|>functions.f<|tool_call_end|><|tool_call_begin|>functions.g:9<|tool_call_end|><|tool_call_begin|>h<|tool_call_end|>", allowSpecial: true));
        Assert.That(answer.Calls.Select(c => c.Id), Is.EqualTo(new[] { "functions.f:3", "functions.g:9", "functions.h:5" }));
    }

    [Test]
    public void Text_that_spells_markers_stays_text()
    {
        const string Text = "</think><|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{}<|tool_call_end|>";
        Assert.That(ParsedAnswer.Of(Layout(thinking: false), Tokenizer.Encode(Text)).Content, Is.EqualTo(Text));
        Assert.That(ParsedAnswer.Of(Layout(thinking: true), Tokenizer.Encode(Text)).Reasoning, Is.EqualTo(Text));
        int[] call = [s_markers.CallBegin, .. Tokenizer.Encode("f:0"), s_markers.ArgumentBegin, .. Tokenizer.Encode($"\"{Text}\""), s_markers.CallEnd];
        Assert.That(ParsedAnswer.Of(Layout(thinking: false), call).Calls.Single().Arguments, Is.EqualTo($"\"{Text}\""));
    }

    [Test]
    public void Arguments_stream_as_they_come()
    {
        var parser = new AnswerParser(Tokenizer, Layout(thinking: false));
        int[] json = Tokenizer.Encode("{\"city\": \"Bei  jing\"}");
        foreach (int token in new[] { s_markers.CallBegin }.Concat(Tokenizer.Encode("f:0")))
        {
            Assert.That(parser.Append(token), Is.Empty);
        }

        Assert.That(parser.Append(s_markers.ArgumentBegin), Is.EqualTo(new[] { new CallEvent(new ToolCallBegun(0, "f:0", "f")) }));
        string held = "";
        foreach (int token in json)
        {
            string sent = string.Concat(parser.Append(token).Select(e => ((ToolCallArguments)((CallEvent)e).Piece).Text));
            held = (held + Tokenizer.Decode([token]))[sent.Length..];
            Assert.That(held.Trim(), Is.Empty, "only white space waits");
        }
    }

    private static AnswerLayout Layout(bool thinking) => new(s_markers, thinking ? ReasoningStart.Opened : ReasoningStart.None);

    /// <summary>The tokens of a text as they would be, of its chunks on their own, and byte by byte; markers are always whole.</summary>
    private static IEnumerable<int[]> Cuts(ParserCase item)
    {
        int[] tokens = Tokenizer.Encode(item.Text, allowSpecial: true);
        yield return tokens;
        yield return [.. tokens.SelectMany(t => Tokenizer.IsSpecial(t) ? [t] : Tokenizer.GetBytes(t).ToArray().Select(b => Tokenizer.Encode([b])[0]))];
        foreach (string[] chunks in item.Chunks)
        {
            int[] cut = [.. chunks.SelectMany(c => Tokenizer.Encode(c, allowSpecial: true))];
            if (cut.Count(Tokenizer.IsSpecial) == tokens.Count(Tokenizer.IsSpecial))
            {
                yield return cut;
            }
        }
    }

    private static string[] Strings(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetString()!)];

    private static KimiToolCall ReadCall(JsonElement call) =>
        new(call.GetProperty("id").GetString()!, call.GetProperty("name").GetString()!, call.GetProperty("arguments").GetString()!);
}
