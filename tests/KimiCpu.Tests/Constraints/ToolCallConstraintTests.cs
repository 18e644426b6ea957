// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Constraints;
using KimiCpu.Constraints.Automata;
using KimiCpu.Constraints.Masks;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Constraints;

/// <summary>Answers of a model that finds every token equally likely, so that only the constraint decides.</summary>
[TestFixture]
[Parallelizable(ParallelScope.All)]
internal sealed class ToolCallConstraintTests
{
    private static readonly KimiTokenizer s_tokenizer = ConstraintReader.Tokenizer;
    private static readonly int s_end = Special("<|im_end|>");

    private static readonly (string Name, JsonElement Parameters)[] s_tools =
    [
        ("get_weather", JsonElement.Parse("""{"type":"object","required":["city"],"properties":{"city":{"type":"string","maxLength":8},"days":{"type":"integer","minimum":1,"maximum":7}}}""")),
        ("get_weather_now", JsonElement.Parse("""{"properties":{"exact":{"type":"boolean"}}}""")),
        ("now", default),
    ];

    [Test]
    public void Required_calls_are_declared_and_valid([Values(0, 7)] int firstIndex, [Values] bool reasons)
    {
        var used = new HashSet<string>();
        for (int seed = 0; seed < 40; seed++)
        {
            List<int> tokens = Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Required, firstIndex), seed, reasons);
            List<(string Id, string Arguments)> calls = Calls(tokens);
            Assert.That(calls, Is.Not.Empty);
            for (int i = 0; i < calls.Count; i++)
            {
                (string name, int index) = (calls[i].Id.Split(':')[0], int.Parse(calls[i].Id.Split(':')[1]));
                Assert.That(index, Is.EqualTo(firstIndex + i));
                CheckArguments(name["functions.".Length..], calls[i].Arguments);
                used.Add(name);
            }
        }

        Assert.That(used, Has.Count.EqualTo(3));
    }

    [Test]
    public void A_named_tool_is_called_once()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            List<(string Id, string Arguments)> calls = Calls(Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Named("get_weather")), seed, reasons: false));
            Assert.That(calls.Select(c => c.Id), Is.EqualTo(new[] { "functions.get_weather:0" }));
            CheckArguments("get_weather", calls[0].Arguments);
        }
    }

    [Test]
    public void Without_tools_no_marker_of_a_call_appears()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            List<int> tokens = Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.None), seed, reasons: true);
            Assert.That(tokens.Select(t => Encoding.UTF8.GetString(s_tokenizer.GetBytes(t))).Where(t => t.StartsWith("<|tool_call", StringComparison.Ordinal)), Is.Empty);
        }
    }

    [Test]
    public void By_default_the_model_decides_and_calls_are_valid()
    {
        int called = 0;
        int answered = 0;
        for (int seed = 0; seed < 40; seed++)
        {
            List<int> tokens = Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Auto), seed, reasons: seed % 2 == 0, favoured: Special("<|tool_calls_section_begin|>"));
            if (tokens.Contains(Special("<|tool_calls_section_begin|>")))
            {
                called++;
                Calls(tokens).ForEach(c => CheckArguments(c.Id.Split(':')[0]["functions.".Length..], c.Arguments));
            }
            else
            {
                answered++;
            }
        }

        Assert.That(called, Is.Positive);
        Assert.That(answered, Is.Positive);
    }

    [Test]
    public void Content_is_constrained_beside_tools()
    {
        KimiConstraint content = KimiConstraint.Choice(["left", "right"]);
        var seen = new HashSet<string>();
        for (int seed = 0; seed < 60; seed++)
        {
            List<int> tokens = Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Auto), seed, reasons: false, content: content);
            seen.Add(tokens[0] == Special("<|tool_calls_section_begin|>") ? "call" : s_tokenizer.Decode([.. tokens[..^1]]));
        }

        Assert.That(seen, Is.EquivalentTo(new[] { "left", "right", "call" }));
    }

    [Test]
    public void Arguments_can_be_left_free()
    {
        var arguments = new List<string>();
        for (int seed = 0; seed < 10; seed++)
        {
            (string id, string text) = Calls(Answer(new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Named("now"), constrainArguments: false), seed, reasons: false, favoured: Special("<|tool_call_end|>"))).Single();
            Assert.That(id, Is.EqualTo("functions.now:0"));
            arguments.Add(text);
        }

        Assert.That(arguments.Exists(a => a.Length > 0 && !"{[\"tfn-0123456789 \t\r\n".Contains(a[0])), Is.True, "some begin as no JSON does");
    }

    /// <summary>Names and arguments are the model's, and still a call stands in the place of the content as a whole.</summary>
    [Test]
    public void Free_calls_are_followed_beside_a_content([Values] bool reasons)
    {
        var free = new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Auto, constrainArguments: false);
        var format = new AnswerTokens(new HashSet<int> { s_end }, Special("<think>"), Special("</think>"), StartsThinking: reasons, MayThink: false);
        var constraint = new AnswerConstraint(s_tokenizer, format, KimiConstraint.Choice(["left"]), free);
        (string Text, string[] Before)[] steps =
        [
            ("<|tool_calls_section_begin|>", reasons ? ["</think>"] : ["left"]),
            ("<|tool_call_begin|>", []),
            ("any", ["other", "<|tool_call_argument_begin|>"]),
            ("<|tool_call_argument_begin|>", ["other"]),
            ("text", ["other", "<|tool_call_end|>"]),
            ("<|tool_call_end|>", ["other"]),
            ("<|tool_calls_section_end|>", ["<|tool_call_begin|>"]),
            ("<|im_end|>", []),
        ];
        foreach ((string text, string[] before) in steps)
        {
            var logits = new float[s_tokenizer.VocabularySize];
            constraint.Mask(logits);
            int[] tokens = [.. Tokens(text)];
            Assert.That(before.Append(text).Select(t => logits[Tokens(t)[0]]), Is.All.Zero, text);
            Assert.That(before.Length > 0 || logits.Count(l => l == 0) == 1, Is.True, $"nothing but {text}");
            Assert.That(logits[s_end] == 0, Is.EqualTo(text == "<|im_end|>"), "the answer ends behind the calls alone");
            Array.ForEach(tokens, constraint.Advance);
        }

        static int[] Tokens(string text) => s_tokenizer.TryGetSpecialToken(text, out int id) ? [id] : s_tokenizer.Encode(text);
    }

    /// <summary>Else the end would be the only token for the rest of the answer.</summary>
    [Test]
    public void Behind_an_end_that_is_ignored_the_model_goes_on([Values] bool named)
    {
        var tools = new ToolCallConstraint(s_tokenizer, s_tools, named ? ToolChoice.Named("now") : ToolChoice.Required, constrainArguments: false);
        var format = new AnswerTokens(new HashSet<int> { s_end }, Special("<think>"), Special("</think>"), StartsThinking: false, MayThink: false, GoesOn: true);
        var constraint = new AnswerConstraint(s_tokenizer, format, content: null, tools);
        string[] call = ["<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.now:0", "<|tool_call_argument_begin|>", "{}", "<|tool_call_end|>", "<|tool_calls_section_end|>", "<|im_end|>"];
        foreach (int token in call.SelectMany(t => s_tokenizer.Encode(t, allowSpecial: true)))
        {
            Assert.That(Mask()[token], Is.Zero);
            constraint.Advance(token);
        }

        float[] after = Mask();
        Assert.That(after[s_tokenizer.Encode("a")[0]], Is.Zero);
        Assert.That(after[s_end], Is.Zero);
        Assert.That(after[Special("<|tool_call_begin|>")], Is.EqualTo(float.NegativeInfinity));
        Assert.That(after[Special("<|tool_calls_section_begin|>")], Is.EqualTo(named ? float.NegativeInfinity : 0), "a named tool is called once");

        float[] Mask()
        {
            var logits = new float[s_tokenizer.VocabularySize];
            constraint.Mask(logits);
            return logits;
        }
    }

    /// <summary>They are asked for between two steps, for which all running answers wait.</summary>
    [Test]
    public void Ids_of_later_calls_are_not_compiled_from_all_names_again()
    {
        (string, JsonElement)[] tools = [.. Enumerable.Range(0, 128).Select(i => ($"{i}_{new string((char)('a' + (i % 26)), 250)}", default(JsonElement)))];
        var constraint = new ToolCallConstraint(s_tokenizer, tools, ToolChoice.Required);
        _ = constraint.Ids(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        TokenAutomaton ids = constraint.Ids(10)!;
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1_000_000), "the automaton of the names alone takes more");
        AutomatonState state = ids.Read(ids.Start, Encoding.UTF8.GetBytes($"functions.{tools[7].Item1}:10"));
        Assert.That((state.Accepts, ids.Read(state, "0"u8).IsDead, ids.Read(ids.Start, Encoding.UTF8.GetBytes($"functions.{tools[7].Item1}:9")).IsDead), Is.EqualTo((true, true, true)));
        Assert.That(constraint.ArgumentsOf($"functions.{tools[7].Item1}:10", 10), Is.Not.Null);
    }

    [Test]
    public void What_cannot_be_is_refused()
    {
        Assert.That(() => new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Named("other")), Throws.ArgumentException.With.Message.Contains("other"));
        Assert.That(() => new ToolCallConstraint(s_tokenizer, [], ToolChoice.Required), Throws.ArgumentException);
        (string, JsonElement)[] refused = [("odd", JsonElement.Parse("""{"multipleOf":2}"""))];
        Assert.That(() => new ToolCallConstraint(s_tokenizer, refused, ToolChoice.Auto), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("odd").And.Message.Contains("ConstrainToolArguments"));
        Assert.That(() => new ToolCallConstraint(s_tokenizer, refused, ToolChoice.Auto, constrainArguments: false), Throws.Nothing);
        string name = new('x', 2000);
        (string, JsonElement)[] refusedAtLength = [(name, refused[0].Item2)];
        List<string> warnings = [];
        Assert.That(() => new ToolCallConstraint(s_tokenizer, s_tools, ToolChoice.Named(name)), Throws.ArgumentException.With.Message.Length.LessThan(1000));
        Assert.That(() => new ToolCallConstraint(s_tokenizer, [(name, default), (name, default)], ToolChoice.Auto), Throws.ArgumentException.With.Message.Length.LessThan(1000));
        Assert.That(() => new ToolCallConstraint(s_tokenizer, refusedAtLength, ToolChoice.Auto), Throws.TypeOf<KimiConstraintException>().With.Message.Length.LessThan(1000));
        _ = new ToolCallConstraint(s_tokenizer, refusedAtLength, ToolChoice.Auto, refused: warnings.Add);
        Assert.That(warnings.Single(), Has.Length.LessThan(1000));
        (string, JsonElement)[] longNames = [.. Enumerable.Range(0, 50).Select(i => ($"{i}{new string('x', 9000)}", default(JsonElement)))];
        Assert.That(() => new ToolCallConstraint(s_tokenizer, longNames, ToolChoice.Auto), Throws.TypeOf<KimiConstraintException>().With.Message.Contains("states"), "before anything runs");
    }

    [Test]
    public void A_tool_that_cannot_be_enforced_may_take_any_object_beside_others_that_keep_their_schemas()
    {
        (string, JsonElement)[] tools = [.. s_tools, ("odd", JsonElement.Parse("""{"multipleOf":2}"""))];
        var schemas = new ToolSchemas();
        List<string> warnings = [];
        for (int seed = 0; seed < 4; seed++)
        {
            var named = new ToolCallConstraint(s_tokenizer, tools, ToolChoice.Named("odd"), schemas: schemas, refused: warnings.Add);
            Assert.That(JsonDocument.Parse(Calls(Answer(named, seed, reasons: false)).Single().Arguments).RootElement.ValueKind, Is.EqualTo(JsonValueKind.Object));
        }

        Assert.That(warnings.Single(), Does.Contain("'odd'").And.Contain("any JSON object"), "once, though the schema came four times");
        var weather = new ToolCallConstraint(s_tokenizer, tools, ToolChoice.Named("get_weather"), schemas: schemas, refused: warnings.Add);
        Assert.That(JsonDocument.Parse(Calls(Answer(weather, 1, reasons: false)).Single().Arguments).RootElement.TryGetProperty("city", out _), Is.True);
        Assert.That(() => new ToolCallConstraint(s_tokenizer, tools, ToolChoice.Auto, schemas: schemas), Throws.TypeOf<KimiConstraintException>(), "only who asks for it");
    }

    /// <summary>Tokens drawn evenly from what is allowed, with the ends of things and one other token more often.</summary>
    private static List<int> Answer(ToolCallConstraint tools, int seed, bool reasons, int favoured = -1, KimiConstraint? content = null)
    {
        var random = new Random(seed);
        int endThink = Special("</think>");
        var format = new AnswerTokens(new HashSet<int> { s_end }, Special("<think>"), endThink, StartsThinking: reasons, MayThink: false);
        var constraint = new AnswerConstraint(s_tokenizer, format, content, tools);
        var tokens = new List<int>();
        var logits = new float[s_tokenizer.VocabularySize + 3];
        while (tokens.Count == 0 || tokens[^1] != s_end)
        {
            Array.Clear(logits);
            constraint.Mask(logits);
            int[] allowed = [.. Enumerable.Range(0, logits.Length).Where(t => logits[t] == 0)];
            Assert.That(allowed, Is.Not.Empty);
            Assert.That(allowed[^1], Is.LessThan(s_tokenizer.VocabularySize), "ids beyond the tokenizer's are never allowed");
            int[] often = [.. allowed.Where(t => t == s_end || t == endThink || t == favoured || s_tokenizer.GetBytes(t) is [(byte)'"' or (byte)'}'])];
            int token = often.Length > 0 && random.Next(3) == 0 ? often[random.Next(often.Length)] : allowed[random.Next(allowed.Length)];
            tokens.Add(token);
            constraint.Advance(token);
            Assert.That(tokens, Has.Count.LessThan(5000));
        }

        return tokens;
    }

    /// <summary>The calls by their markers; fails where these are out of order.</summary>
    private static List<(string Id, string Arguments)> Calls(List<int> tokens)
    {
        int at = tokens.IndexOf(Special("<|tool_calls_section_begin|>"));
        Assert.That(at, Is.GreaterThanOrEqualTo(0));
        var calls = new List<(string, string)>();
        at++;
        while (tokens[at] != Special("<|tool_calls_section_end|>"))
        {
            Assert.That(tokens[at], Is.EqualTo(Special("<|tool_call_begin|>")));
            int arguments = tokens.IndexOf(Special("<|tool_call_argument_begin|>"), at);
            int end = tokens.IndexOf(Special("<|tool_call_end|>"), arguments);
            calls.Add((s_tokenizer.Decode([.. tokens[(at + 1)..arguments]]), s_tokenizer.Decode([.. tokens[(arguments + 1)..end]])));
            at = end + 1;
        }

        Assert.That(tokens[(at + 1)..], Is.EqualTo(new[] { s_end }));
        return calls;
    }

    private static void CheckArguments(string name, string arguments)
    {
        using JsonDocument document = JsonDocument.Parse(arguments);
        Dictionary<string, JsonElement> members = document.RootElement.EnumerateObject().GroupBy(p => p.Name).ToDictionary(g => g.Key, g => g.Last().Value);
        switch (name)
        {
            case "get_weather":
                Assert.That(members["city"].GetString()!.EnumerateRunes().Count(), Is.LessThanOrEqualTo(8));
                Assert.That(members.Keys, Is.SubsetOf(new[] { "city", "days" }));
                Assert.That(!members.TryGetValue("days", out JsonElement days) || days.GetInt32() is >= 1 and <= 7, Is.True);
                break;
            case "get_weather_now":
                Assert.That(members.Keys, Is.SubsetOf(new[] { "exact" }));
                break;
            default:
                Assert.That(name, Is.EqualTo("now"));
                break;
        }
    }

    private static int Special(string name) => s_tokenizer.TryGetSpecialToken(name, out int id) ? id : throw new InvalidOperationException(name);
}
