// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Checkpoints;
using KimiCpu.Tests.Tokens;
using KimiCpu.Tokens;

namespace KimiCpu.Tests.Chat;

/// <summary>Renderings equal those of the published templates, for the turns that are supported: text of system, user and assistant.</summary>
[TestFixture]
internal sealed class ChatRendererTests
{
    private static readonly ChatFormat s_k25 = new() { MarksReasoning = true, OpensReasoning = true };
    private static readonly ChatFormat s_thinking = new() { DefaultSystemPrompt = "You are Kimi, an AI assistant created by Moonshot AI.", MarksReasoning = true };

    public sealed record ChatCase(string Name, KimiMessage[] Messages, bool Thinking, bool GenerationPrompt, string? K25, string? K2Thinking)
    {
        public override string ToString() => Name;
    }

    public static IEnumerable<ChatCase> Cases()
    {
        using JsonDocument document = JsonDocument.Parse(File.ReadAllText(Repository.Fixture("chat", "public", "cases.json")));
        foreach (JsonElement item in document.RootElement.GetProperty("cases").EnumerateArray().Where(IsPlain))
        {
            JsonElement rendered = item.GetProperty("rendered");
            yield return new ChatCase(
                item.GetProperty("name").GetString()!,
                [.. item.GetProperty("messages").EnumerateArray().Select(ReadMessage)],
                item.GetProperty("thinking").GetBoolean(),
                item.GetProperty("add_generation_prompt").GetBoolean(),
                rendered.TryGetProperty("k2.5", out JsonElement k25) ? k25.GetString() : null,
                rendered.TryGetProperty("k2-thinking", out JsonElement thinking) ? thinking.GetString() : null);
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void Renders_as_the_published_templates(ChatCase item)
    {
        if (item.K25 is not null)
        {
            Assert.That(Render(s_k25, item), Is.EqualTo(item.K25));
        }

        if (item.K2Thinking is not null)
        {
            Assert.That(Render(s_thinking, item), Is.EqualTo(item.K2Thinking));
        }
    }

    [Test]
    public void Enough_cases_are_plain() => Assert.That(Cases().Count(), Is.GreaterThanOrEqualTo(8));

    [Test]
    public void Text_of_users_never_becomes_a_control_token()
    {
        KimiTokenizer tokenizer = TokenizerCases.Tokenizer;
        var renderer = new ChatRenderer(tokenizer, s_k25);
        int plain = renderer.Render([KimiMessage.User("x")], thinking: true).Count(tokenizer.IsSpecial);
        foreach (string name in tokenizer.SpecialTokenIds.Keys)
        {
            int[] tokens = renderer.Render([KimiMessage.User($"{name} and {name}") with { Name = name }], thinking: true);
            Assert.That(tokens.Count(tokenizer.IsSpecial), Is.EqualTo(plain), name);
        }
    }

    [Test]
    public void The_embedded_models_template_is_recognized()
    {
        var files = new FolderCheckpointFiles(Repository.NanoModel);
        Assert.That(ChatFormat.Of(files), Is.EqualTo(s_k25));
    }

    [Test]
    public void Formats_are_read_from_template_texts()
    {
        const string Instruct = "{% if loop.first and messages[0]['role'] != 'system' %}<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>{% endif %}{% if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}";
        Assert.That(ChatFormat.OfTemplate(Instruct), Is.EqualTo(new ChatFormat { DefaultSystemPrompt = "You are Kimi, an AI assistant created by Moonshot AI." }));
        Assert.That(ChatFormat.OfTemplate(Instruct + "<think></think>").MarksReasoning, Is.True);
        Assert.That(ChatFormat.Of(new FolderCheckpointFiles(Repository.Checkpoint("tiny-int4"))), Is.EqualTo(new ChatFormat()));
    }

    private static string Render(ChatFormat format, ChatCase item)
    {
        KimiTokenizer tokenizer = TokenizerCases.Tokenizer;
        int[] tokens = new ChatRenderer(tokenizer, format).Render(item.Messages, item.Thinking, item.GenerationPrompt);
        Assert.That(tokens, Is.EqualTo(tokenizer.Encode(tokenizer.Decode(tokens), allowSpecial: true)), "ids are those of the rendered text");
        return tokenizer.Decode(tokens);
    }

    private static bool IsPlain(JsonElement item) =>
        item.GetProperty("tools").ValueKind == JsonValueKind.Null
        && !item.GetProperty("preserve_thinking").GetBoolean()
        && item.GetProperty("messages").EnumerateArray().All(m =>
            m.GetProperty("role").GetString() is "system" or "user" or "assistant"
            && (!m.TryGetProperty("tool_calls", out JsonElement calls) || calls.ValueKind == JsonValueKind.Null)
            && m.TryGetProperty("content", out JsonElement content) && content.ValueKind == JsonValueKind.String);

    private static KimiMessage ReadMessage(JsonElement message)
    {
        KimiRole role = message.GetProperty("role").GetString() switch { "user" => KimiRole.User, "assistant" => KimiRole.Assistant, _ => KimiRole.System };
        return new KimiMessage(role, message.GetProperty("content").GetString()!)
        {
            Name = message.TryGetProperty("name", out JsonElement name) ? name.GetString() : null,
            Reasoning = message.TryGetProperty("reasoning_content", out JsonElement reasoning) ? reasoning.GetString() : null,
        };
    }
}
