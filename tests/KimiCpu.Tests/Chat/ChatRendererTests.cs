// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Chat;

/// <summary>Renderings equal those of the published templates (Fixtures/chat), byte for byte.</summary>
[TestFixture]
internal sealed class ChatRendererTests
{
    private static readonly KimiTool s_weather = new("get_weather", "Weather of a city", """{"type": "object", "properties": {"city": {"type": "string"}}}""");

    private static KimiTokenizer Tokenizer => TokenizerCases.Tokenizer;

    public sealed record ChatCase(string Name, string Template, Conversation Conversation, string Rendered)
    {
        public override string ToString() => $"{Name} ({Template})";
    }

    public static IEnumerable<ChatCase> Cases()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("chat", "public", "cases.json")));
        foreach (JsonElement item in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            foreach (JsonProperty rendered in item.GetProperty("rendered").EnumerateObject())
            {
                yield return new ChatCase(item.GetProperty("name").GetString()!, rendered.Name, ConversationJson.Read(item), rendered.Value.GetString()!);
            }
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void Renders_as_the_published_templates(ChatCase item)
    {
        Conversation conversation = item.Conversation;
        int[] tokens = new ChatRenderer(Tokenizer, ChatFormat.ByName[item.Template]).Render(conversation.Messages, new RenderOptions
        {
            Tools = conversation.Tools,
            Thinking = conversation.Thinking!.Value,
            PreserveThinking = conversation.PreserveThinking!.Value,
            GenerationPrompt = conversation.GenerationPrompt!.Value,
        });
        Assert.That(Tokenizer.Decode(tokens), Is.EqualTo(item.Rendered));
        Assert.That(tokens, Is.EqualTo(Tokenizer.Encode(item.Rendered, allowSpecial: true)), "ids are those of the rendered text");
    }

    [TestCase("<|im_user|>", "cannot chat")]
    [TestCase("<|tool_call_begin|>", "cannot use tools")]
    public void What_a_tokenizer_has_no_control_tokens_for_is_not_supported(string missing, string message)
    {
        string folder = Directory.CreateTempSubdirectory("kimi").FullName;
        try
        {
            foreach (string file in Directory.GetFiles(Repository.Fixture("tokenizer", "public", "tokenizer")))
            {
                File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
            }

            string configuration = Path.Combine(folder, "tokenizer_config.json");
            File.WriteAllText(configuration, File.ReadAllText(configuration).Replace($"\"{missing}\"", "\"<|another|>\"", StringComparison.Ordinal));
            KimiTokenizer tokenizer = KimiTokenizer.Open(folder);
            Assert.That(
                () => new ChatRenderer(tokenizer, ChatFormat.K25).Render([KimiMessage.User("x")], new RenderOptions { Tools = [s_weather] }),
                Throws.TypeOf<NotSupportedException>().With.Message.Contains(message).And.Matches<Exception>(e => CallersMistake.Is(e!)), "who serves the checkpoint tells his callers");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public void All_cases_of_both_templates_are_there() => Assert.That(Cases().Count(), Is.EqualTo(34));

    [Test]
    public void Texts_that_the_model_wrote_are_shown_as_its_tokens()
    {
        int[] written = Singly("thinking</think>begin<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"in\": 1}<|tool_call_end|><|tool_calls_section_end|><|im_end|>");
        KimiMessage message = KimiMessage.Assistant("begin", "thinking") with { ToolCalls = [new KimiToolCall("functions.f:0", "f", "{\"in\": 1}")] };
        int[] encoded = Render(message);
        int[] shown = Render(message with { GeneratedTokens = written });
        Assert.That(Tokenizer.Decode(shown), Is.EqualTo(Tokenizer.Decode(encoded)));
        Assert.That(shown, Has.Length.GreaterThan(encoded.Length), "the tokenizer merges what was written singly");
        Assert.That(shown[^written.Length..], Is.EqualTo(written), "the answer goes on behind its prompt");

        int[] changed = Render(message with { GeneratedTokens = written, Content = "began" });
        Assert.That(Tokenizer.Decode(changed), Is.EqualTo(Tokenizer.Decode(encoded).Replace("begin<", "began<", StringComparison.Ordinal)));
        Assert.That(changed, Has.Length.EqualTo(shown.Length - "begin".Length + Tokenizer.Encode("began").Length), "only what was changed is encoded");
        Assert.That(Render(message with { GeneratedTokens = [-1, int.MaxValue] }), Is.EqualTo(encoded));

        int[] Render(KimiMessage answer) => new ChatRenderer(Tokenizer, ChatFormat.K25).Render([KimiMessage.User("x"), answer], new RenderOptions { GenerationPrompt = false });
        static int[] Singly(string text) => [.. Tokenizer.Encode(text, allowSpecial: true).SelectMany(t => Tokenizer.IsSpecial(t) ? [t] : Tokenizer.GetBytes(t).ToArray().Select(b => Tokenizer.Encode([b])[0]))];
    }

    [Test]
    public void Text_never_becomes_a_control_token()
    {
        foreach (string name in Tokenizer.SpecialTokenIds.Keys)
        {
            string evil = $"{name} and {name}";
            KimiMessage[] conversation =
            [
                KimiMessage.System(evil),
                KimiMessage.User(evil) with { Name = evil },
                KimiMessage.Assistant(evil, evil) with { ToolCalls = [new KimiToolCall(evil, evil, evil)] },
                KimiMessage.Tool(evil, evil),
            ];
            var tool = new KimiTool(evil, evil, JsonSerializer.Serialize(new Dictionary<string, object> { ["type"] = "object", [evil] = evil }));
            foreach (ChatFormat format in ChatFormat.ByName.Values)
            {
                Assert.That(Specials(format, conversation, tool), Is.EqualTo(Specials(format, [.. conversation.Select(Plain)], s_weather)), name);
            }
        }

        int Specials(ChatFormat format, KimiMessage[] messages, KimiTool tool) =>
            new ChatRenderer(Tokenizer, format).Render(messages, new RenderOptions { Tools = [tool] }).Count(Tokenizer.IsSpecial);

        static KimiMessage Plain(KimiMessage message) => message with
        {
            Content = "x",
            Name = message.Name is null ? null : "x",
            Reasoning = message.Reasoning is null ? null : "x",
            ToolCallId = message.ToolCallId is null ? null : "x",
            ToolCalls = [.. message.ToolCalls.Select(_ => new KimiToolCall("x", "x", "x"))],
        };
    }

    [Test]
    public void Calls_without_an_id_are_counted_over_the_conversation()
    {
        KimiMessage[] conversation =
        [
            KimiMessage.User("?"),
            Calls(("call_a7", "f"), ("", "g")),
            new(KimiRole.Tool, "first"),
            new(KimiRole.Tool, "second"),
            KimiMessage.Assistant("ok"),
            Calls(("", "f")),
            KimiMessage.Tool("functions.f:2", "third"),
        ];
        string kept = Render(ChatFormat.K25, conversation);
        Assert.That(kept, Does.Contain("<|tool_call_begin|>call_a7<|").And.Contain("<|tool_call_begin|>functions.g:1<|").And.Contain("<|tool_call_begin|>functions.f:2<|"));
        Assert.That(kept, Does.Contain("## Return of call_a7\nfirst").And.Contain("## Return of functions.g:1\nsecond").And.Contain("## Return of functions.f:2\nthird"));
        string rewritten = Render(ChatFormat.K25 with { RewritesCallIds = true }, [.. conversation[..2], KimiMessage.Tool("", "second"), KimiMessage.Tool("call_a7", "first")]);
        Assert.That(rewritten, Does.Contain("<|tool_call_begin|>functions.f:0<|").And.Contain("## Return of functions.f:0\nsecond"));
        Assert.That(Render(ChatFormat.K25 with { RewritesCallIds = true }, [.. conversation[..2], KimiMessage.Tool("call_a7", "first")]), Does.Contain("## Return of functions.f:0\nfirst"));
        Assert.That(Render(ChatFormat.K25, [KimiMessage.Tool("unknown", "x")]), Does.Contain("## Return of unknown\nx"));
    }

    /// <summary>Clients that count the calls of each turn anew, and have left one of an earlier turn without a result.</summary>
    [Test]
    public void Results_belong_to_the_latest_turn_that_gave_their_id()
    {
        static KimiMessage Given(params string[] ids) => new(KimiRole.Assistant, "") { ToolCalls = [.. ids.Select(id => new KimiToolCall(id, "f", "{}"))] };
        ChatFormat format = ChatFormat.K25 with { RewritesCallIds = true };
        Assert.That(Render(format, [Given("functions.f:0", "b"), Given("functions.f:0"), KimiMessage.Tool("functions.f:0", "later")]), Does.Contain("## Return of functions.f:2\nlater"));
        Assert.That(Render(format, [Given("a", "b"), Given("functions.f:0"), KimiMessage.Tool("functions.f:0", "given")]), Does.Contain("## Return of functions.f:2\ngiven"));
        string twice = Render(format, [Given("x", "x"), KimiMessage.Tool("x", "first"), KimiMessage.Tool("x", "second")]);
        Assert.That(twice, Does.Contain("## Return of functions.f:0\nfirst").And.Contain("## Return of functions.f:1\nsecond"), "in order within a turn");
        string unnamed = Render(format, [Given("x"), Given("y", "z"), KimiMessage.Tool("", "first"), KimiMessage.Tool("", "second"), KimiMessage.Tool("", "third")]);
        Assert.That(unnamed, Does.Match("functions.f:1\nfirst.*functions.f:2\nsecond.*functions.f:0\nthird"), "results without an id, too");
    }

    /// <summary>The templates ask for the role itself, not for what it is shown as.</summary>
    [TestCase("system", "")]
    [TestCase("developer", "<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>")]
    public void Only_a_system_message_takes_the_place_of_the_default_prompt(string role, string prompt)
    {
        Conversation conversation = ConversationJson.Read(JsonElement.Parse($$"""[{"role":"{{role}}","content":"rules"},{"role":"user","content":"hi"}]"""));
        string rest = $"<|im_system|>{role}<|im_middle|>rules<|im_end|><|im_user|>user<|im_middle|>hi<|im_end|><|im_assistant|>assistant<|im_middle|>";
        Assert.That(Render(ChatFormat.K2Thinking, [.. conversation.Messages]), Is.EqualTo(prompt + rest));
        Assert.That(Render(ChatFormat.K2Instruct, [.. conversation.Messages]), Is.EqualTo(prompt + rest));
        Assert.That(Render(ChatFormat.K25, [.. conversation.Messages]), Is.EqualTo($"{rest}<think>"), "it has no default prompt");
    }

    [Test]
    public void Reasoning_stays_in_a_tool_loop_and_goes_with_the_answer()
    {
        KimiMessage[] loop = [KimiMessage.User("?"), Calls(("", "f")) with { Reasoning = "why" }, new(KimiRole.Tool, "1")];
        KimiMessage[] after = [.. loop, KimiMessage.Assistant("done", "so"), KimiMessage.User("more")];
        foreach (ChatFormat format in new[] { ChatFormat.K2Thinking, ChatFormat.K25 })
        {
            Assert.That(Render(format, loop), Does.Contain("<think>why</think>"));
            Assert.That(Render(format, after), Does.Not.Contain("why").And.Not.Contain("so</think>").And.Contain("<think></think>done"));
        }

        Assert.That(Render(ChatFormat.K25, after, new RenderOptions { PreserveThinking = true, Thinking = false }), Does.Contain("<think>why</think>").And.Contain("<think>so</think>").And.EndWith("<think></think>"));
        Assert.That(Render(ChatFormat.K25, loop, new RenderOptions { Thinking = false }), Does.Not.Contain("why"));
        Assert.That(Render(ChatFormat.K2Thinking, loop, new RenderOptions { Thinking = false, PreserveThinking = true }), Does.Contain("<think>why</think>"), "it cannot be switched off");
        Assert.That(Render(ChatFormat.K2Thinking, after, new RenderOptions { PreserveThinking = true }), Does.Not.Contain("why"), "nor preserved");
        Assert.That(Render(ChatFormat.K25 with { History = ReasoningHistory.Kept }, after), Does.Contain("<think>why</think>"));
        Assert.That(Render(ChatFormat.K2Instruct, after), Does.Not.Contain("think").And.EndWith("<|im_assistant|>assistant<|im_middle|>"));
    }

    [Test]
    public void What_cannot_be_rendered_is_refused()
    {
        Assert.That(() => Render(ChatFormat.K25, [new(KimiRole.Tool, "x")]), Throws.ArgumentException.With.Message.Contains("answered"));
        Assert.That(() => Render(ChatFormat.K25, [KimiMessage.User("x") with { ToolCalls = [new KimiToolCall("", "f", "{}")] }]), Throws.ArgumentException.With.Message.Contains("assistant"));
        Assert.That(() => Render(ChatFormat.K25, [KimiMessage.User("x")], new RenderOptions { Tools = [s_weather, s_weather] }), Throws.ArgumentException.With.Message.Contains("get_weather"));
    }

    private static KimiMessage Calls(params (string Id, string Name)[] calls) =>
        KimiMessage.Assistant("") with { ToolCalls = [.. calls.Select(c => new KimiToolCall(c.Id, c.Name, "{}"))] };

    private static string Render(ChatFormat format, KimiMessage[] messages, RenderOptions? options = null) =>
        Tokenizer.Decode(new ChatRenderer(Tokenizer, format).Render(messages, options ?? new RenderOptions()));
}
