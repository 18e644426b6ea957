// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>A long conversation takes a core some time to encode, so it is encoded once, whatever is asked of it.</summary>
[TestFixture]
internal sealed class PreparationTests
{
    private readonly List<string> _called = [];
    private KimiModel _model = null!;
    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 2048 });
        _server = await RunningServer.StartWithAsync(StandInModel.Of(_model, member =>
        {
            lock (_called)
            {
                _called.Add(member.Name);
            }

            return null;
        }));
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        _model.Dispose();
    }

    [SetUp]
    public void Forget() => _called.Clear();

    [Test]
    [CancelAfter(60_000)]
    public async Task A_stream_of_Anthropic_begins_with_the_length_of_its_prompt(CancellationToken cancellationToken)
    {
        const string Request = """{"model":"kimi-nano","max_tokens":3,"messages":[{"role":"user","content":"What is the capital of France?"}]""";
        using var content = new StringContent(Request + ""","stream":true}""", Encoding.UTF8, "application/json");
        using HttpResponseMessage response = await _server.Http.PostAsync(new Uri("/v1/messages", UriKind.Relative), content, cancellationToken);
        string[] events = (await response.Content.ReadAsStringAsync(cancellationToken)).Split('\n');
        Assert.That(Encodings(), Is.EqualTo(new[] { nameof(IKimiModel.GenerateAsync) }));
        JsonElement begin = JsonElement.Parse(events.First(e => e.StartsWith("data: ", StringComparison.Ordinal))["data: ".Length..]);
        (_, JsonElement counted, _) = await _server.PostAsync("/v1/messages/count_tokens", Request + "}");
        Assert.That(begin.GetProperty("message").GetProperty("usage").GetProperty("input_tokens").GetInt32(), Is.EqualTo(counted.GetProperty("input_tokens").GetInt32()).And.GreaterThan(5));
    }

    /// <summary>With a seed each has another one, so it is a call with options of its own.</summary>
    [TestCase("", 1)]
    [TestCase(""","seed":1""", 4)]
    [CancelAfter(60_000)]
    public async Task Several_answers_to_one_prompt_that_are_asked_for_alike_are_one_call(string more, int calls, CancellationToken cancellationToken)
    {
        (int status, JsonElement body, HttpResponseMessage response) = await _server.PostAsync(
            "/v1/chat/completions", $$"""{"messages":[{"role":"user","content":"Hi"}],"n":4,"max_tokens":20,"ignore_eos":true,"temperature":2{{more}}}""").WaitAsync(cancellationToken);
        response.Dispose();
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(Encodings(), Has.Length.EqualTo(calls).And.All.EqualTo(nameof(IKimiModel.GenerateAsync)));
        Assert.That(body.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("message").GetRawText()).Distinct().Count(), Is.EqualTo(4), "each is another answer");
        Assert.That(body.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), Is.EqualTo(80));
    }

    [Test]
    [CancelAfter(60_000)]
    public async Task Answers_to_several_prompts_are_a_call_for_each_prompt(CancellationToken cancellationToken)
    {
        (int status, JsonElement body, HttpResponseMessage response) = await _server.PostAsync("/v1/completions", """{"prompt":["ROMEO:","JULIET:"],"n":2,"max_tokens":3,"echo":true}""").WaitAsync(cancellationToken);
        response.Dispose();
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(Encodings(), Has.Length.EqualTo(2));
        Assert.That(body.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("text").GetString()!.Split(':')[0]), Is.EqualTo(new[] { "ROMEO", "ROMEO", "JULIET", "JULIET" }));
    }

    private string[] Encodings()
    {
        lock (_called)
        {
            return [.. _called.Where(m => m is nameof(IKimiModel.EncodePrompt) or nameof(IKimiModel.GenerateAsync))];
        }
    }
}
