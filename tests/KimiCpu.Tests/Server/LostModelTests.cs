// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server;

/// <summary>A model that was open and can run no call any more, as after the loss of its GPU: the server is not at fault, and what stands before it can turn to another one.</summary>
[TestFixture]
internal sealed class LostModelTests
{
    private const string Failure = "GPU 0 was lost, so every call fails from here on.";
    private const string Messages = """ "messages":[{"role":"user","content":"Hi"}] """;

    private RunningServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await ServeAsync(m => m == nameof(IKimiModel.GenerateAsync) ? throw new KimiException(Failure) : null);

    [OneTimeTearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [TestCase("/v1/chat/completions", $$"""{{{Messages}}}""", 503)]
    [TestCase("/v1/chat/completions", $$"""{"n":2,{{Messages}}}""", 503)]
    [TestCase("/v1/completions", """{"prompt":"Hi"}""", 503)]
    [TestCase("/v1/responses", """{"input":"Hi"}""", 503)]
    [TestCase("/v1/messages", $$"""{"model":"kimi-nano","max_tokens":9,{{Messages}}}""", 529)]
    [TestCase("/api/chat", $$"""{"model":"kimi-nano","stream":false,{{Messages}}}""", 503)]
    public async Task Calls_are_told_that_it_is_not_available(string path, string body, int expected)
    {
        int before = _server.Log.Lines.Count;
        (int status, JsonElement answer, HttpResponseMessage response) = await _server.PostAsync(path, body);
        using (response)
        {
            JsonElement error = answer.GetProperty("error");
            Assert.That((status, $"{response.Headers.RetryAfter}"), Is.EqualTo((expected, "30")), $"{answer}");
            Assert.That($"{error}", Does.Contain("was lost").And.Contains("log says why"));
            if (path != "/api/chat")
            {
                Assert.That($"{error}", Does.Contain(expected == 529 ? "overloaded_error" : "model_not_available"));
            }
        }

        Assert.That(_server.Log.Since(before), Has.None.StartsWith("Error"), "the model has told it once");
    }

    [TestCase("/v1/chat/completions", $$"""{"stream":true,{{Messages}}}""", "model_not_available")]
    [TestCase("/v1/chat/completions", $$"""{"stream":true,"n":2,{{Messages}}}""", "model_not_available")]
    [TestCase("/v1/responses", """{"stream":true,"input":"Hi"}""", "\"code\":\"model_not_available\"")]
    [TestCase("/v1/messages", $$"""{"stream":true,"model":"kimi-nano","max_tokens":9,{{Messages}}}""", "overloaded_error")]
    public async Task Streams_that_have_begun_end_with_that(string path, string body, string expected)
    {
        Assert.That(await LostMeanwhileAsync(path, body), Does.Contain("Well").And.Contains(expected));
    }

    /// <summary>A stream without events has no other place for it than a line, and a connection that breaks is no answer.</summary>
    [TestCase("/api/chat", $$"""{"model":"kimi-nano",{{Messages}}}""")]
    [TestCase("/api/generate", """{"model":"kimi-nano","prompt":"Hi"}""")]
    public async Task Lines_that_have_begun_end_with_one_that_says_that(string path, string body)
    {
        string text = await LostMeanwhileAsync(path, body);
        JsonElement[] lines = [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonElement.Parse(l))];
        Assert.That(lines[^1].GetProperty("error").GetString(), Does.Contain("was lost").And.Contains("log says why"), text);
        Assert.That(lines[..^1].Select(l => l.GetProperty("done").GetBoolean()), Is.Not.Empty.And.All.False, text);
        Assert.That(text, Does.Contain("Well"));
    }

    [Test]
    public async Task It_is_not_ready_and_what_needs_no_call_goes_on()
    {
        (int tokenized, _, _) = await _server.PostAsync("/tokenize", """{"prompt":"Hi"}""");
        using HttpResponseMessage ready = await _server.GetAsync("/ready");
        using HttpResponseMessage health = await _server.GetAsync("/health");
        Assert.That((tokenized, (int)ready.StatusCode, (int)health.StatusCode), Is.EqualTo((200, 503, 200)));
        Assert.That(await ready.Content.ReadAsStringAsync(), Does.Contain("\"status\":\"lost\""));
        using HttpResponseMessage machine = await _server.GetAsync("/kimi/machine");
        Assert.That(JsonElement.Parse(await machine.Content.ReadAsStringAsync()).GetProperty("failure").GetString(), Is.EqualTo(Failure));
    }

    [Test]
    public async Task What_fails_for_another_reason_is_the_server_s_fault()
    {
        await using RunningServer server = await ServeAsync(m => m == nameof(IKimiModel.GenerateAsync) ? throw new KimiException("GPU 0 failed. It still answers.") : null);
        (int status, _, HttpResponseMessage response) = await server.PostAsync("/v1/completions", """{"prompt":"Hi"}""");
        response.Dispose();
        Assert.That(status, Is.EqualTo(500));
    }

    /// <summary>What a client reads whose answer begins, and then cannot go on.</summary>
    private static async Task<string> LostMeanwhileAsync(string path, string body)
    {
        await using RunningServer server = await ServeAsync(m => m == nameof(IKimiModel.GenerateAsync) ? UpdatesAsync() : null);
        using HttpResponseMessage response = await server.Http.PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));
        string text = await response.Content.ReadAsStringAsync();
        Assert.That(((int)response.StatusCode, text), Is.EqualTo((200, text)));
        return text;

        static async IAsyncEnumerable<GenerationUpdate> UpdatesAsync()
        {
            yield return new GenerationUpdate { Text = "Well" };
            await Task.Yield();
            throw new KimiException(Failure);
        }
    }

    private static Task<RunningServer> ServeAsync(Func<string, object?> member) =>
        RunningServer.StartWithAsync(StandInModel.Of(KimiModel.OpenEmbedded(), m => m.Name == $"get_{nameof(IKimiModel.Activity)}" ? new KimiModelActivity { Failure = Failure } : member(m.Name)));
}
