// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What the official Anthropic client for JavaScript gets from the server.</summary>
[TestFixture]
internal sealed class AnthropicNodeTests() : NodeFixture("anthropic-messages")
{
    [Test]
    public void Answers_without_reasoning_unless_it_is_asked_for()
    {
        JsonElement whole = Seen["whole"];
        Assert.That(whole.Texts("types"), Is.EqualTo(new[] { "text" }));
        Assert.That(whole.Text("text"), Does.Contain("Paris"));
        Assert.That((whole.Text("stop"), whole.Text("model")), Is.EqualTo(("end_turn", "kimi-nano")));
        Assert.That(whole.GetProperty("usage").Number("output_tokens"), Is.Positive);
        Assert.That(whole.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Shows_the_models_reasoning_as_thinking()
    {
        JsonElement thinking = Seen["thinking"];
        Assert.That(thinking.Texts("types"), Is.EqualTo(new[] { "thinking", "text" }));
        Assert.That((thinking.Text("text"), thinking.Text("thinking")), Is.EqualTo((Expected.Text, Expected.Reasoning)));
    }

    [Test]
    public void Streams_what_it_answers()
    {
        JsonElement streamed = Seen["streamed"];
        Assert.That((streamed.Text("text"), streamed.Text("thinking")), Is.EqualTo((Expected.Text, Expected.Reasoning)));
        Assert.That((streamed.Text("first"), streamed.Text("last")), Is.EqualTo(("message_start", "message_stop")));
    }

    [Test]
    public void Its_stream_adds_up_to_the_message()
    {
        JsonElement helper = Seen["helper"];
        Assert.That((helper.Text("text"), helper.Text("final")), Is.EqualTo((Expected.Text, Expected.Text)));
        Assert.That((helper.Text("thinking"), helper.Text("finalThinking")), Is.EqualTo((Expected.Reasoning, Expected.Reasoning)));
        Assert.That(helper.Text("stop"), Is.EqualTo("end_turn"));
        JsonElement usage = helper.GetProperty("usage");
        Assert.That((usage.Number("input_tokens") + usage.Number("cache_read_input_tokens"), usage.Number("output_tokens")), Is.EqualTo((Expected.Usage.PromptTokens, Expected.Usage.CompletionTokens)));
        Assert.That(helper.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Takes_its_blocks_back() => Assert.That(Seen["conversation"].Text("text"), Does.Contain("Ada"));

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
        Assert.That(tools.Texts("stops"), Is.EqualTo(new[] { "tool_use", "end_turn" }));
        Assert.That(tools.Texts("roles"), Is.EqualTo(new[] { "user", "assistant", "user", "assistant" }));
        Assert.That(tools.Text("answer"), Does.Contain("12 degrees and sunny in Oslo"));
        Assert.That(tools.Text("streamed"), name == "tools" ? Is.Empty : Does.EndWith(tools.Text("answer")));
    }

    [Test]
    public void Counts_tokens_as_the_answer_does() =>
        Assert.That(Seen["count"].Number("counted"), Is.EqualTo(Seen["count"].Number("used")).And.GreaterThan(10));

    [Test]
    public void Lists_its_model_in_the_clients_own_form()
    {
        JsonElement models = Seen["models"];
        JsonElement listed = models.GetProperty("listed").EnumerateArray().Single();
        Assert.That((listed.Text("id"), listed.Text("type"), listed.Text("display_name"), listed.Number("created")), Is.EqualTo(("kimi-nano", "model", "kimi-nano", DateTimeOffset.UtcNow.Year)));
        Assert.That((models.GetProperty("retrieved").Text("id"), models.GetProperty("retrieved").Text("type")), Is.EqualTo(("kimi-nano", "model")));
    }
}
