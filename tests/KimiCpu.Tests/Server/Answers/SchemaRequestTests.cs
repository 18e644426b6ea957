// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using KimiCpu.Generation;
using KimiCpu.Tests.Extensions.AI;

namespace KimiCpu.Tests.Server.Answers;

/// <summary>Requests while all turns to compile schemas are taken.</summary>
[TestFixture]
internal sealed class SchemaRequestTests
{
    private const string Schema = """{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}""";
    private const string Chat = "/v1/chat/completions";

    /// <summary>Where each dialect has the schema of an answer or of a call.</summary>
    private static readonly (string Path, string Field, string Value)[] s_withSchema =
    [
        (Chat, "response_format", """{"type":"json_schema","json_schema":{"name":"a","schema":SCHEMA}}"""),
        (Chat, "tools", """[{"type":"function","function":{"name":"a","parameters":SCHEMA}}]"""),
        ("/v1/responses", "text", """{"format":{"type":"json_schema","name":"a","schema":SCHEMA}}"""),
        ("/v1/messages", "output_config", """{"format":{"type":"json_schema","schema":SCHEMA}}"""),
        ("/api/chat", "format", "SCHEMA"),
    ];

    private static TimeSpan Patience { get; } = TimeSpan.FromMinutes(1);

    [Test]
    public async Task They_wait_for_a_turn_and_others_do_not([ValueSource(nameof(s_withSchema))] (string Path, string Field, string Value) request)
    {
        await using RunningServer server = await RunningServer.StartAsync();
        using var turns = new TakenTurns(server);
        Task<HttpResponseMessage> waiting = SendAsync(server, request, CancellationToken.None);
        ExpectWaiting(server);
        using HttpResponseMessage plain = await SendAsync(server, (Chat, "n", "1"), CancellationToken.None).WaitAsync(Patience);
        using HttpResponseMessage health = await server.GetAsync("/health").WaitAsync(Patience);
        Assert.That((plain.StatusCode, health.StatusCode), Is.EqualTo((HttpStatusCode.OK, HttpStatusCode.OK)));
        Assert.That((waiting.IsCompleted, server.Turns.Waiting), Is.EqualTo((false, 1)), "all turns are taken");
        turns.GiveBack();
        using HttpResponseMessage answer = await waiting.WaitAsync(Patience);
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.OK), await answer.Content.ReadAsStringAsync());
    }

    [Test]
    public async Task Who_goes_away_leaves_the_queue([ValueSource(nameof(s_withSchema))] (string Path, string Field, string Value) request)
    {
        await using RunningServer server = await RunningServer.StartAsync();
        using var turns = new TakenTurns(server);
        using var gone = new CancellationTokenSource();
        Task<HttpResponseMessage> leaving = SendAsync(server, request, gone.Token);
        ExpectWaiting(server);
        await gone.CancelAsync();
        Assert.That(async () => await leaving, Throws.InstanceOf<OperationCanceledException>());
        Assert.That(() => server.Gone, Is.EqualTo(1).After((int)Patience.TotalMilliseconds, 10), "while all turns are taken");
    }

    /// <summary>Of two answers, which with a seed are two calls, the first one has begun, and ends with the model's step, when the second one is refused.</summary>
    [Test]
    public async Task A_request_that_fails_does_not_hold_its_turn_until_its_answers_have_ended()
    {
        const string Tools = """[{"type":"function","function":{"name":"a","parameters":{"type":"object"}}}]""";
        using KimiModel model = KimiModel.OpenEmbedded();
        var step = new TaskCompletionSource();
        int turns = Math.Max(1, Environment.ProcessorCount / 2);
        int answers = 0;
        await using RunningServer server = await RunningServer.StartWithAsync(StandInModel.Of(model, m => m.Name != nameof(IKimiModel.GenerateAsync) || Interlocked.Increment(ref answers) > 2 * turns
            ? null
            : answers % 2 == 1 ? NothingAsync() : throw new KimiBusyException("It is full.")), o => o.MaxRequests = turns + 1);
        var failing = new List<Task<HttpResponseMessage>>();
        try
        {
            for (int i = 1; i <= turns; i++)
            {
                failing.Add(server.Http.PostAsync(Chat, Json(2)));
                Assert.That(() => Volatile.Read(ref answers), Is.EqualTo(2 * i).After((int)Patience.TotalMilliseconds, 10));
            }

            using HttpResponseMessage other = await server.Http.PostAsync(Chat, Json(1)).WaitAsync(Patience);
            Assert.That(other.StatusCode, Is.EqualTo(HttpStatusCode.OK));
            Assert.That(failing.Select(f => f.IsCompleted), Is.All.False);
        }
        finally
        {
            step.SetResult();
        }

        foreach (Task<HttpResponseMessage> request in failing)
        {
            using HttpResponseMessage refusal = await request.WaitAsync(Patience);
            Assert.That(refusal.StatusCode, Is.EqualTo(HttpStatusCode.TooManyRequests));
        }

        StringContent Json(int n) => new($$"""{"model":"kimi-nano","max_tokens":4,"n":{{n}},"seed":1,"tools":{{Tools}},"messages":[{"role":"user","content":"Hi"}]}""", Encoding.UTF8, "application/json");

        async IAsyncEnumerable<GenerationUpdate> NothingAsync()
        {
            await step.Task;
            yield break;
        }
    }

    private static void ExpectWaiting(RunningServer server) => Assert.That(() => server.Turns.Waiting, Is.EqualTo(1).After((int)Patience.TotalMilliseconds, 10), "it waits for its turn");

    private static Task<HttpResponseMessage> SendAsync(RunningServer server, (string Path, string Field, string Value) request, CancellationToken cancellationToken)
    {
        var body = new JsonObject
        {
            ["model"] = "kimi-nano",
            [request.Path == "/v1/responses" ? "input" : "messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Hi" }),
            ["max_tokens"] = 40,
            ["max_output_tokens"] = 40,
            ["stream"] = false,
            [request.Field] = JsonNode.Parse(request.Value.Replace("SCHEMA", Schema, StringComparison.Ordinal)),
        };
        body.Remove(request.Path == "/v1/responses" ? "max_tokens" : "max_output_tokens");
        return server.Http.PostAsJsonAsync(request.Path, body, cancellationToken);
    }

    private sealed class TakenTurns : IDisposable
    {
        private readonly TaskCompletionSource _end = new();

        public TakenTurns(RunningServer server)
        {
            for (int i = 0; i < Math.Max(1, Environment.ProcessorCount / 2); i++)
            {
                _ = server.Turns.RunAsync(needed: true, async () =>
                {
                    await _end.Task;
                    return 0;
                }, CancellationToken.None);
            }
        }

        public void GiveBack() => _end.TrySetResult();

        public void Dispose() => GiveBack();
    }
}
