// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;

namespace KimiCpu.Tests.Server;

/// <summary>Clients of all kinds at once leave no page behind, no memory, and a server that answers as before.</summary>
[TestFixture]
internal sealed class ServerSoakTests
{
    private const string Chat = "/v1/chat/completions";
    private const string Question = """{"messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,"max_tokens":8}""";
    private const int Workers = 8;
    private const int RequestsEach = 125;

    [Test]
    [CancelAfter(300_000)]
    public async Task Requests_of_all_kinds_leave_nothing_behind(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(o => (o.MaxRequests, o.MaxBodyBytes) = (6, 100_000));
        string before = Answer(await server.PostAsync(Chat, Question));
        var statuses = new ConcurrentDictionary<int, int>();
        await RunAll(0);
        long memory = GC.GetTotalMemory(forceFullCollection: true);
        await RunAll(1);
        server.ExpectNoLeak();
        Assert.That(GC.GetTotalMemory(forceFullCollection: true) - memory, Is.LessThan(8 << 20), "bytes that the second half has left");
        Assert.That(statuses.Keys, Is.SupersetOf(new[] { 0, 200, 400, 413, 415, 429 }));
        Assert.That(statuses.Keys.Max(), Is.LessThan(500));
        Assert.That(statuses.Values.Sum(), Is.EqualTo(2 * Workers * RequestsEach));
        Assert.That(Answer(await server.PostAsync(Chat, Question)), Is.EqualTo(before));

        async Task RunAll(int half)
        {
            await Task.WhenAll(Enumerable.Range(0, Workers).Select(worker => Task.Run(async () =>
            {
                var random = new Random((half * Workers) + worker);
                for (int i = 0; i < RequestsEach; i++)
                {
                    statuses.AddOrUpdate(await OneRequest(server, random), 1, (_, n) => n + 1);
                }
            }))).WaitAsync(cancellationToken);

            // What was logged is the test's.
            Assert.That(server.Log.Lines, Has.None.StartsWith("Error"));
            server.Log.Lines.Clear();
        }
    }

    /// <summary>Its status; 0 where the client left.</summary>
    private static async Task<int> OneRequest(RunningServer server, Random random)
    {
        string text = $"{(char)('a' + random.Next(4))} ROMEO:\\n";
        switch (random.Next(6))
        {
            case 0:
                return await StatusAsync(server, new StringContent($$"""{"messages":[{"role":"user","content":"{{text}}"}],"max_tokens":4}""", Encoding.UTF8, "application/json"));
            case 1:
                return await LeaveAsync(server, $$"""{"prompt":"{{text}}","ignore_eos":true,"max_tokens":500,"stream":true,"n":{{random.Next(1, 3)}}}""", random.Next(3));
            case 2:
                byte[] broken = Encoding.UTF8.GetBytes(Question);
                broken[random.Next(broken.Length)] = (byte)random.Next(256);
                return await StatusAsync(server, new ByteArrayContent(broken[..^random.Next(1, 20)]));
            case 3:
                return await StatusAsync(server, new StringContent($$"""{"prompt":"{{new string('x', 120_000)}}"}""", Encoding.UTF8, "application/json"));
            case 4:
                return await StatusAsync(server, new StringContent(Question, Encoding.Unicode, "application/json"));
            default:
                // Longer than the context.
                return await StatusAsync(server, new StringContent($$"""{"messages":[{"role":"user","content":"{{string.Concat(Enumerable.Repeat(text, 3000))}}"}]}""", Encoding.UTF8, "application/json"));
        }
    }

    private static async Task<int> StatusAsync(RunningServer server, HttpContent content)
    {
        using HttpResponseMessage response = await server.Http.PostAsync(Chat, content);
        return (int)response.StatusCode;
    }

    private static async Task<int> LeaveAsync(RunningServer server, string json, int reads)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        using HttpResponseMessage response = await server.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        if (!response.IsSuccessStatusCode)
        {
            return (int)response.StatusCode;
        }

        using Stream stream = await response.Content.ReadAsStreamAsync();
        for (int i = 0; i < reads; i++)
        {
            await stream.ReadAtLeastAsync(new byte[64], 1);
        }

        return 0;
    }

    private static string Answer((int Status, JsonElement Body, HttpResponseMessage Response) answer) => answer.Body.GetProperty("choices")[0].GetProperty("message").GetRawText();
}
