// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What the official OpenAI client for JavaScript gets from the server: responses. Its helpers check every event.</summary>
[TestFixture]
internal sealed class OpenAIResponsesNodeTests
{
    private RunningServer _server = null!;
    private NodeReport _seen = null!;
    private GenerationResult _expected = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        await NodePackages.RequireAsync();
        _server = await RunningServer.StartAsync();
        _expected = _server.Model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 });
        _seen = await NodeReport.OfAsync("openai-responses", _server);
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        if (_server is not null)
        {
            await using (_server)
            {
                _server.ExpectNoLeak();
            }
        }
    }

    [Test]
    public void Answers_as_the_model_does()
    {
        JsonElement whole = _seen["whole"];
        Assert.That((whole.Text("text"), whole.Text("reasoning")), Is.EqualTo((_expected.Text, _expected.Reasoning)));
        Assert.That(whole.Texts("types"), Is.EqualTo(new[] { "reasoning", "message" }));
        Assert.That((whole.Text("status"), whole.GetProperty("metadata").Text("run")), Is.EqualTo(("completed", "7")));
        Assert.That((whole.GetProperty("usage").Number("input_tokens"), whole.GetProperty("usage").Number("output_tokens")), Is.EqualTo((_expected.Usage.PromptTokens, _expected.Usage.CompletionTokens)));
        Assert.That(whole.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Streams_what_it_answers()
    {
        JsonElement streamed = _seen["streamed"];
        Assert.That((streamed.Text("text"), streamed.Text("reasoning")), Is.EqualTo((_expected.Text, _expected.Reasoning)));
        Assert.That((streamed.Text("last"), streamed.Text("output")), Is.EqualTo(("response.completed", _expected.Text)));
        int[] numbers = [.. streamed.GetProperty("numbers").EnumerateArray().Select(n => n.GetInt32())];
        Assert.That(numbers, Is.EqualTo(Enumerable.Range(0, numbers.Length)));
    }

    [Test]
    public void Its_stream_adds_up_to_the_response()
    {
        JsonElement helper = _seen["helper"];
        Assert.That((helper.Text("text"), helper.Text("final")), Is.EqualTo((_expected.Text, _expected.Text)));
        Assert.That((helper.Text("summary"), helper.Text("finalSummary")), Is.EqualTo((_expected.Reasoning, _expected.Reasoning)));
    }

    [Test]
    public void Takes_its_output_back_as_input() => Assert.That(_seen["conversation"].Text("text"), Does.Contain("Ada"));

    [Test]
    public void Does_not_reason_where_it_is_not_to()
    {
        Assert.That(_seen["silent"].Texts("types"), Is.EqualTo(new[] { "message" }));
        Assert.That(_seen["silent"].Number("tokens"), Is.Zero);
    }

    [Test]
    public void Holds_answers_to_a_schema_of_zod()
    {
        Assert.That(_seen["schema"].Text("colour"), Is.AnyOf("red", "green"));
        Assert.That(_seen["schema"].GetProperty("sure").ValueKind, Is.AnyOf(JsonValueKind.True, JsonValueKind.False));
    }

    [Test]
    public void Says_that_an_answer_was_cut_off()
    {
        JsonElement cut = _seen["cut"];
        Assert.That((cut.Text("status"), cut.Text("reason"), cut.Number("tokens")), Is.EqualTo(("incomplete", "max_output_tokens", 3)));
    }

    [TestCase("tools")]
    [TestCase("toolsStreamed")]
    public void Its_runner_carries_a_loop_of_tools(string name)
    {
        JsonElement tools = _seen[name];
        Assert.That(tools.Texts("asked"), Is.EqualTo(new[] { "Oslo" }));
        Assert.That(tools.Text("answer"), Does.Contain("12 degrees and sunny in Oslo"));
        Assert.That(tools.Text("status"), Is.EqualTo("completed"));
        Assert.That(tools.Number("events"), name == "tools" ? Is.Zero : Is.GreaterThan(20));
    }
}
