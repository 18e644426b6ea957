// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Generation;

namespace KimiCpu.Tests.Server.Node;

/// <summary>What the official OpenAI client for JavaScript gets from the server: chats.</summary>
[TestFixture]
internal sealed class OpenAINodeTests
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
        _seen = await NodeReport.OfAsync("openai-chat", _server);
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
        Assert.That(whole.Text("text"), Is.EqualTo(_expected.Text).And.Contains("Paris"));
        Assert.That(whole.Text("reasoning"), Is.EqualTo(_expected.Reasoning).And.Not.Empty);
        Assert.That((whole.Text("finish"), whole.Text("model")), Is.EqualTo(("stop", "kimi-nano")));
        Assert.That((whole.GetProperty("usage").Number("prompt_tokens"), whole.GetProperty("usage").Number("completion_tokens")), Is.EqualTo((_expected.Usage.PromptTokens, _expected.Usage.CompletionTokens)));
        Assert.That(whole.Text("request"), Does.StartWith("req_"));
    }

    [Test]
    public void Streams_what_it_answers()
    {
        JsonElement streamed = _seen["streamed"];
        Assert.That((streamed.Text("text"), streamed.Text("reasoning")), Is.EqualTo((_expected.Text, _expected.Reasoning)));
        Assert.That((streamed.Texts("role").Single(), streamed.Texts("finish").Single(), streamed.Number("ids")), Is.EqualTo(("assistant", "stop", 1)));
        Assert.That(streamed.GetProperty("usage").Number("completion_tokens"), Is.EqualTo(_expected.Usage.CompletionTokens));
        JsonElement helper = _seen["helper"];
        Assert.That((helper.Text("text"), helper.Text("final"), helper.Text("finish")), Is.EqualTo((_expected.Text, _expected.Text, "stop")));
    }

    [Test]
    public void Does_not_reason_where_it_is_not_to()
    {
        JsonElement silent = _seen["silent"];
        Assert.That((silent.Text("reasoning"), silent.Number("tokens")), Is.EqualTo(((string?)null, 0)));
        Assert.That(silent.Text("text"), Is.Not.Empty);
    }

    [Test]
    public void Holds_answers_to_a_schema_of_zod()
    {
        Assert.That(_seen["schema"].Text("colour"), Is.AnyOf("red", "green"));
        Assert.That(_seen["schema"].GetProperty("sure").ValueKind, Is.AnyOf(JsonValueKind.True, JsonValueKind.False));
    }

    [TestCase("tools")]
    [TestCase("toolsStreamed")]
    public void Its_runner_carries_a_loop_of_tools(string name)
    {
        JsonElement tools = _seen[name];
        Assert.That(tools.Texts("asked"), Is.EqualTo(new[] { "Oslo" }));
        Assert.That(tools.Texts("roles"), Is.EqualTo(new[] { "user", "assistant", "tool", "assistant" }));
        Assert.That(tools.Text("answer"), Does.Contain("12 degrees and sunny in Oslo"));
        Assert.That(tools.Text("streamed"), Does.EndWith(tools.Text("answer")), "events of its own, which it has for whole answers too");
    }

    [Test]
    public void Lists_its_model()
    {
        Assert.That(_seen["models"].Texts("listed"), Is.EqualTo(new[] { "kimi-nano" }));
        Assert.That(_seen["models"].Text("owner"), Is.EqualTo("kimicpu"));
    }
}
