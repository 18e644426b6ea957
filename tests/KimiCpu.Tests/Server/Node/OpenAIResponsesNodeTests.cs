// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What the official OpenAI client for JavaScript gets from the server: responses. Its helpers check every event.</summary>
[TestFixture]
internal sealed class OpenAIResponsesNodeTests() : NodeFixture("openai-responses")
{
    [Test]
    public void Answers_as_the_model_does()
    {
        JsonElement whole = Seen["whole"];
        Assert.That((whole.Text("text"), whole.Text("reasoning")), Is.EqualTo((Expected.Text, Expected.Reasoning)));
        Assert.That(whole.Texts("types"), Is.EqualTo(new[] { "reasoning", "message" }));
        Assert.That((whole.Text("status"), whole.GetProperty("metadata").Text("run")), Is.EqualTo(("completed", "7")));
        Assert.That((whole.GetProperty("usage").Number("input_tokens"), whole.GetProperty("usage").Number("output_tokens")), Is.EqualTo((Expected.Usage.PromptTokens, Expected.Usage.CompletionTokens)));
        Assert.That(whole.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Streams_what_it_answers()
    {
        JsonElement streamed = Seen["streamed"];
        Assert.That((streamed.Text("text"), streamed.Text("reasoning")), Is.EqualTo((Expected.Text, Expected.Reasoning)));
        Assert.That((streamed.Text("last"), streamed.Text("output")), Is.EqualTo(("response.completed", Expected.Text)));
        int[] numbers = [.. streamed.GetProperty("numbers").EnumerateArray().Select(n => n.GetInt32())];
        Assert.That(numbers, Is.EqualTo(Enumerable.Range(0, numbers.Length)));
    }

    [Test]
    public void Its_stream_adds_up_to_the_response()
    {
        JsonElement helper = Seen["helper"];
        Assert.That((helper.Text("text"), helper.Text("final")), Is.EqualTo((Expected.Text, Expected.Text)));
        Assert.That((helper.Text("summary"), helper.Text("finalSummary")), Is.EqualTo((Expected.Reasoning, Expected.Reasoning)));
    }

    [Test]
    public void Takes_its_output_back_as_input() => Assert.That(Seen["conversation"].Text("text"), Does.Contain("Ada"));

    [Test]
    public void Does_not_reason_where_it_is_not_to()
    {
        Assert.That(Seen["silent"].Texts("types"), Is.EqualTo(new[] { "message" }));
        Assert.That(Seen["silent"].Number("tokens"), Is.Zero);
    }

    [Test]
    public void Holds_answers_to_a_schema_of_zod()
    {
        Assert.That(Seen["schema"].Text("colour"), Is.AnyOf("red", "green"));
        Assert.That(Seen["schema"].GetProperty("sure").ValueKind, Is.AnyOf(JsonValueKind.True, JsonValueKind.False));
    }

    [Test]
    public void Says_that_an_answer_was_cut_off()
    {
        JsonElement cut = Seen["cut"];
        Assert.That((cut.Text("status"), cut.Text("reason"), cut.Number("tokens")), Is.EqualTo(("incomplete", "max_output_tokens", 3)));
    }

    [TestCase("tools")]
    [TestCase("toolsStreamed")]
    public void Its_runner_carries_a_loop_of_tools(string name)
    {
        JsonElement tools = Seen[name];
        Assert.That(tools.Texts("asked"), Is.EqualTo(new[] { "Oslo" }));
        Assert.That(tools.Text("answer"), Does.Contain("12 degrees and sunny in Oslo"));
        Assert.That(tools.Text("status"), Is.EqualTo("completed"));
        Assert.That(tools.Number("events"), name == "tools" ? Is.Zero : Is.GreaterThan(20));
    }
}
