// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What the official OpenAI client for JavaScript gets from the server: chats.</summary>
[TestFixture]
internal sealed class OpenAINodeTests() : NodeFixture("openai-chat")
{
    [Test]
    public void Answers_as_the_model_does()
    {
        JsonElement whole = Seen["whole"];
        Assert.That(whole.Text("text"), Is.EqualTo(Expected.Text).And.Contains("Paris"));
        Assert.That(whole.Text("reasoning"), Is.EqualTo(Expected.Reasoning).And.Not.Empty);
        Assert.That((whole.Text("finish"), whole.Text("model")), Is.EqualTo(("stop", "kimi-nano")));
        Assert.That((whole.GetProperty("usage").Number("prompt_tokens"), whole.GetProperty("usage").Number("completion_tokens")), Is.EqualTo((Expected.Usage.PromptTokens, Expected.Usage.CompletionTokens)));
        Assert.That(whole.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Streams_what_it_answers()
    {
        JsonElement streamed = Seen["streamed"];
        Assert.That((streamed.Text("text"), streamed.Text("reasoning")), Is.EqualTo((Expected.Text, Expected.Reasoning)));
        Assert.That((streamed.Texts("role").Single(), streamed.Texts("finish").Single(), streamed.Number("ids")), Is.EqualTo(("assistant", "stop", 1)));
        Assert.That(streamed.GetProperty("usage").Number("completion_tokens"), Is.EqualTo(Expected.Usage.CompletionTokens));
        JsonElement helper = Seen["helper"];
        Assert.That((helper.Text("text"), helper.Text("final"), helper.Text("finish")), Is.EqualTo((Expected.Text, Expected.Text, "stop")));
    }

    [Test]
    public void Does_not_reason_where_it_is_not_to()
    {
        JsonElement silent = Seen["silent"];
        Assert.That((silent.Text("reasoning"), silent.Number("tokens")), Is.EqualTo(((string?)null, 0)));
        Assert.That(silent.Text("text"), Is.Not.Empty);
    }

    [Test]
    public void Holds_answers_to_a_schema_of_zod()
    {
        Assert.That(Seen["schema"].Text("colour"), Is.AnyOf("red", "green"));
        Assert.That(Seen["schema"].GetProperty("sure").ValueKind, Is.AnyOf(JsonValueKind.True, JsonValueKind.False));
    }

    [TestCase("tools")]
    [TestCase("toolsStreamed")]
    public void Its_runner_carries_a_loop_of_tools(string name)
    {
        JsonElement tools = Seen[name];
        Assert.That(tools.Texts("asked"), Is.EqualTo(new[] { "Oslo" }));
        Assert.That(tools.Texts("roles"), Is.EqualTo(new[] { "user", "assistant", "tool", "assistant" }));
        Assert.That(tools.Text("answer"), Does.Contain("12 degrees and sunny in Oslo"));
        Assert.That(tools.Text("streamed"), Does.EndWith(tools.Text("answer")), "events of its own, which it has for whole answers too");
    }

    [Test]
    public void Lists_its_model()
    {
        Assert.That(Seen["models"].Texts("listed"), Is.EqualTo(new[] { "kimi-nano" }));
        Assert.That(Seen["models"].Text("owner"), Is.EqualTo("kimicpu"));
    }
}
