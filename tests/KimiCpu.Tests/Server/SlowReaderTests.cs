// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using KimiCpu.Generation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;

namespace KimiCpu.Tests.Server;

/// <summary>Clients that open a stream and do not read it hold up nobody: what is not read is kept, without a page of the cache, until they read or go.</summary>
[TestFixture]
internal sealed class SlowReaderTests
{
    private const string Path = "/v1/completions";
    private const string Prompt = "ROMEO:\n";
    private const int Tokens = 400;
    private const int BufferBytes = 4096;
    private const int SlowClients = 4;

    private static readonly string s_request = $$"""{"prompt":{{JsonSerializer.Serialize(Prompt)}},"temperature":0,"ignore_eos":true,"max_tokens":{{Tokens}},"stream":true}""";

    [Test]
    [CancelAfter(300_000)]
    public async Task Others_are_answered_meanwhile_and_who_reads_late_gets_all_of_it(CancellationToken cancellationToken)
    {
        await using RunningServer server = await RunningServer.StartAsync(host: SmallBuffers);
        GenerationResult expected = server.Model.Generate(server.Model.Tokenizer.Encode(Prompt, cancellationToken: cancellationToken).AsMemory(), new GenerationOptions { Temperature = 0, MaxTokens = Tokens, IgnoreEndOfText = true }, cancellationToken);
        Socket[] slow = [.. Enumerable.Range(0, SlowClients).Select(_ => Begin(server))];
        try
        {
            Assert.That(() => slow.All(s => s.Available > 0), Is.True.After(60_000, 20), "their answers have begun");
            string answer = server.Model.Generate("What is the capital of France?", new GenerationOptions { Temperature = 0 }, cancellationToken).Text;
            string[] others = await Task.WhenAll(Enumerable.Range(0, SlowClients).Select(_ => ChatAsync(server, cancellationToken)));
            Assert.That(others, Is.All.EqualTo(answer));

            // The answers that nobody reads come to their ends as well, and hold nothing of the cache from then on.
            Assert.That(() => (server.Model.Activity.RunningCalls, server.Model.Activity.WaitingCalls), Is.EqualTo((0, 0)).After(200_000, 50));
            server.ExpectNoLeak();

            foreach (Socket late in slow[..(SlowClients / 2)])
            {
                string response = await ReadToEndAsync(late, cancellationToken);
                Assert.That(response, Does.EndWith("data: [DONE]\n\n"));
                Assert.That(Joined(response[response.IndexOf("\r\n\r\n", StringComparison.Ordinal)..].TrimStart(), c => c.GetProperty("text").GetString()), Is.EqualTo(expected.Text));
            }
        }
        finally
        {
            Array.ForEach(slow, s => s.Dispose());
        }

        Assert.That(() => Ended(server), Is.EqualTo(SlowClients).After(60_000, 50), "requests of clients that went away end");
        Assert.That(server.Log.Lines, Has.None.StartsWith("Error"));
    }

    /// <summary>Little room for what is not read yet, so that answers need not be long, and clients may read as slowly as they like.</summary>
    private static void SmallBuffers(WebApplicationBuilder builder)
    {
        builder.Services.Configure<KestrelServerOptions>(o => (o.Limits.MaxResponseBufferSize, o.Limits.MinResponseDataRate) = (BufferBytes, null));
        builder.Services.Configure<SocketTransportOptions>(o => o.CreateBoundListenSocket = endPoint =>
        {
            Socket socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
            socket.SendBufferSize = BufferBytes;
            return socket;
        });
    }

    /// <summary>Asks for a stream, in the version of HTTP whose bodies end with the connection, and reads nothing.</summary>
    private static Socket Begin(RunningServer server)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = BufferBytes };
        Uri address = server.Http.BaseAddress!;
        socket.Connect(address.Host, address.Port);
        socket.Send(Encoding.UTF8.GetBytes($"POST {Path} HTTP/1.0\r\nHost: {address.Authority}\r\nContent-Type: application/json\r\nContent-Length: {s_request.Length}\r\n\r\n{s_request}"));
        return socket;
    }

    private static async Task<string> ChatAsync(RunningServer server, CancellationToken cancellationToken)
    {
        var question = new StringContent("""{"messages":[{"role":"user","content":"What is the capital of France?"}],"temperature":0,"stream":true}""", Encoding.UTF8, "application/json");
        using HttpResponseMessage response = await server.Http.PostAsync("/v1/chat/completions", question, cancellationToken);
        return Joined(await response.Content.ReadAsStringAsync(cancellationToken), c => c.GetProperty("delta").TryGetProperty("content", out JsonElement text) ? text.GetString() : "");
    }

    private static async Task<string> ReadToEndAsync(Socket socket, CancellationToken cancellationToken)
    {
        socket.ReceiveBufferSize = 1 << 20;
        await using var stream = new NetworkStream(socket);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return await reader.ReadToEndAsync(cancellationToken);
    }

    private static string Joined(string body, Func<JsonElement, string?> text) => string.Concat(body.Split("\n\n", StringSplitOptions.RemoveEmptyEntries)
        .Where(e => e != "data: [DONE]")
        .Select(e => text(JsonDocument.Parse(e["data: ".Length..]).RootElement.GetProperty("choices")[0])));

    /// <summary>Requests of <see cref="Begin"/> that the server is done with.</summary>
    private static int Ended(RunningServer server) => server.Log.Lines.Count(l => l.Contains($"POST {Path}: 200", StringComparison.Ordinal));
}
