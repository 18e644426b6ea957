// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>Several answers to one request of which one fails, for a reason that is the server's, while another one would go on for long.</summary>
[TestFixture]
internal sealed class RunningAnswersTests
{
    private const string Failure = "GPU 0 failed. It still answers.";
    /// <summary>With a seed each answer is a call of its own, of which one can fail.</summary>
    private const string Request = """{"n":2,"seed":1,"ignore_eos":true,"max_tokens":8000,"messages":[{"role":"user","content":"Hi"}]""";

    private TaskCompletionSource _fails = null!;
    private KimiModel _model = null!;
    private RunningServer _server = null!;

    [SetUp]
    public async Task Start()
    {
        _fails = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _model = KimiModel.OpenEmbedded(new KimiModelOptions { ContextLength = 8192 });
        int asked = 0;
        _server = await RunningServer.StartWithAsync(StandInModel.Of(_model, m => m.Name == nameof(IKimiModel.GenerateAsync) && asked++ > 0 ? FailingAsync() : null));
    }

    [TearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        _model.Dispose();
    }

    [Test]
    [CancelAfter(120_000)]
    public async Task A_stream_ends_with_the_failure_of_one_answer_and_the_others_end(CancellationToken cancellationToken)
    {
        var content = new StringContent(Request + ""","stream":true}""", Encoding.UTF8, "application/json");
        using HttpResponseMessage response = await _server.Http.SendAsync(new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = content }, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        Assert.That((int)response.StatusCode, Is.EqualTo(200));
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        List<string> events = [];
        while (await reader.ReadLineAsync(cancellationToken) is { } line)
        {
            if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                events.Add(line["data: ".Length..]);
            }

            if (events.Count > 0 && IsPieceOfFirst(events[^1]))
            {
                _fails.TrySetResult();
            }
        }

        Assert.That(events[^1], Is.EqualTo("[DONE]"));
        JsonElement error = JsonElement.Parse(events[^2]).GetProperty("error");
        Assert.That((error.GetProperty("code").GetString(), error.GetProperty("message").GetString()!.Contains(response.Headers.GetValues("x-request-id").Single(), StringComparison.Ordinal)), Is.EqualTo(("internal_error", true)));
        Assert.That(events[..^2], Has.Some.Contains("Well").And.None.Contains("\"finish_reason\":\""), "the other answer was not waited for");
        ExpectEnd();
    }

    [Test]
    [CancelAfter(120_000)]
    public async Task An_answer_that_fails_fails_them_all(CancellationToken cancellationToken)
    {
        _fails.SetResult();
        (int status, JsonElement body, HttpResponseMessage response) = await _server.PostAsync("/v1/chat/completions", Request + "}").WaitAsync(cancellationToken);
        response.Dispose();
        Assert.That((status, body.GetProperty("error").GetProperty("code").GetString()), Is.EqualTo((500, "internal_error")));
        ExpectEnd();
    }

    /// <summary>Whether it is a piece of the first answer that has some text.</summary>
    private static bool IsPieceOfFirst(string data)
    {
        if (data[0] != '{' || !JsonElement.Parse(data).TryGetProperty("choices", out JsonElement choices))
        {
            return false;
        }

        JsonElement choice = choices.EnumerateArray().Single();
        JsonElement delta = choice.GetProperty("delta");
        return choice.GetProperty("index").GetInt32() == 0 && new[] { "content", "reasoning_content" }.Any(n => delta.TryGetProperty(n, out JsonElement text) && text.GetString() is { Length: > 0 });
    }

    /// <summary>No call runs on, and the log has the failure once.</summary>
    private void ExpectEnd()
    {
        Assert.That(() => (_model.Activity.RunningCalls, _model.Activity.WaitingCalls), Is.EqualTo((0, 0)).After(10_000, 20));
        Assert.That(_server.Log.Lines.Where(l => l.StartsWith("Error", StringComparison.Ordinal)), Has.One.Items.And.All.Contains(Failure));
    }

    private async IAsyncEnumerable<GenerationUpdate> FailingAsync()
    {
        yield return new GenerationUpdate { Text = "Well" };
        await _fails.Task;
        throw new KimiException(Failure);
    }
}
