// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics.Metrics;
using System.Text.Json;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>Who names no limit gets as many tokens as there is room for, whatever the server's own limit or the interface's is.</summary>
[TestFixture]
internal sealed class AnswerLengthTests
{
    private const string Chat = "/v1/chat/completions";
    private const int Context = 2048;

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await RunningServer.StartAsync(o => o.MaxTokens = 2000, o => o.ContextLength = Context);

    [OneTimeTearDown]
    public ValueTask Stop() => _server.DisposeAsync();

    [Test]
    [CancelAfter(120_000)]
    public async Task The_limit_of_the_server_leaves_room_for_the_prompt(CancellationToken cancellationToken)
    {
        string text = await LongTextAsync(cancellationToken);
        string request = $$"""{"messages":[{"role":"user","content":"{{text}}"}],"ignore_eos":true""";
        (int status, JsonElement body, _) = await _server.PostAsync(Chat, request + "}");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(body.GetProperty("choices")[0].GetProperty("finish_reason").GetString(), Is.EqualTo("length"));
        Assert.That(body.GetProperty("usage").GetProperty("total_tokens").GetInt32(), Is.EqualTo(Context));

        (status, body, _) = await _server.PostAsync(Chat, request + ",\"max_tokens\":2000}");
        Assert.That((status, MessageOf(body).Contains("2000 in the completion", StringComparison.Ordinal)), Is.EqualTo((400, true)), "it is asked for: " + body.GetRawText());

        (status, body, _) = await _server.PostAsync(Chat, $$"""{"messages":[{"role":"user","content":"{{text}} {{text}}"}]}""");
        Assert.That((status, MessageOf(body).Contains("max_tokens", StringComparison.Ordinal)), Is.EqualTo((400, false)), "there is no room for any answer: " + body.GetRawText());
    }

    /// <summary>As Ollama has it: no client of its interface asks again for less.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task What_an_answer_of_Ollamas_is_limited_to_may_be_more_than_there_is_room_for(CancellationToken cancellationToken)
    {
        string text = await LongTextAsync(cancellationToken);
        (int status, JsonElement body, _) = await _server.PostAsync(
            "/api/chat", $$$"""{"model":"kimi-nano","stream":false,"think":false,"messages":[{"role":"user","content":"{{{text}}}"}],"format":{{{RunningServer.EndlessSchema}}},"options":{"num_predict":100000}}""");
        Assert.That((status, body.GetProperty("done_reason").GetString()), Is.EqualTo((200, "length")), body.GetRawText());
        Assert.That(body.GetProperty("prompt_eval_count").GetInt32() + body.GetProperty("eval_count").GetInt32(), Is.EqualTo(Context));
    }

    /// <summary>A try that fails and one that does not would be an error rate of a half where all is well.</summary>
    [Test]
    [CancelAfter(120_000)]
    public async Task An_answer_for_which_there_is_less_room_is_one_call_to_who_measures(CancellationToken cancellationToken)
    {
        string text = await LongTextAsync(cancellationToken);
        var ended = new List<string>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Name == "gen_ai.server.request.duration")
                {
                    l.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<double>((_, _, tags, _) => ended.Add(string.Join(' ', tags.ToArray().Where(t => t.Key == "error.type").Select(t => t.Value))));
        listener.Start();
        (int status, JsonElement body, _) = await _server.PostAsync("/api/chat", $$$"""{"model":"kimi-nano","stream":false,"think":false,"messages":[{"role":"user","content":"{{{text}}}"}],"options":{"num_predict":100000}}""");
        Assert.That(status, Is.EqualTo(200), body.GetRawText());
        Assert.That(ended, Is.EqualTo(new[] { "" }));
    }

    [Test]
    public async Task The_usual_length_of_a_completion_is_shorter_where_there_is_less_room()
    {
        foreach ((int prompt, int expected) in new[] { (Context - 6, 6), (Context - 20, 16) })
        {
            (int status, JsonElement body, _) = await _server.PostAsync("/v1/completions", $$"""{"prompt":[{{string.Join(',', Enumerable.Repeat(65, prompt))}}],"ignore_eos":true}""");
            Assert.That(status, Is.EqualTo(200), body.GetRawText());
            Assert.That(body.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), Is.EqualTo(expected));
        }
    }

    private static string MessageOf(JsonElement body) => body.GetProperty("error").GetProperty("message").GetString()!;

    /// <summary>A text that leaves some room in the context, and twice which does not.</summary>
    private async Task<string> LongTextAsync(CancellationToken cancellationToken)
    {
        string text = "";
        int count = 0;
        while (count < Context - 150)
        {
            cancellationToken.ThrowIfCancellationRequested();
            text += "one two three one two three one two three one two three ";
            (_, JsonElement body, _) = await _server.PostAsync("/tokenize", $$"""{"messages":[{"role":"user","content":"{{text}}"}]}""");
            count = body.GetProperty("count").GetInt32();
        }

        return text;
    }
}
