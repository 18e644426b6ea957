// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using KimiCpu.Server.Answers;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Server.Http;

/// <summary>One request on its way: where it came from, how errors are written, and what ends it.</summary>
/// <param name="Context">Of ASP.NET Core.</param>
/// <param name="Dialect">How errors are written.</param>
/// <param name="Id">Of the request, in the log and in <c>x-request-id</c>.</param>
/// <param name="Logger">Of the server.</param>
/// <param name="KeepAlive">Longest silence of a stream.</param>
/// <param name="Cancelled">When the client has gone away, or answers have to end.</param>
/// <param name="EndOfAnswers">When answers have to end since the server stops.</param>
internal sealed record ServerCall(HttpContext Context, IDialect Dialect, string Id, ILogger Logger, TimeSpan KeepAlive, CancellationToken Cancelled, CancellationToken EndOfAnswers)
{
    /// <summary>Stands for a comment among events, which clients skip.</summary>
    public static SseItem<string> Comment { get; } = new("still at work", ":");

    /// <summary>Whether nobody waits for the answer any more.</summary>
    public bool IsGone => Context.RequestAborted.IsCancellationRequested;

    public static RequestException ShuttingDown() =>
        new(StatusCodes.Status503ServiceUnavailable, "The server is shutting down.", code: "shutting_down") { RetryAfter = 10 };

    /// <param name="options">Limits.</param>
    /// <param name="most">Most bytes of a body that is always small; null for as many as the options have.</param>
    public Task<JsonDocument> ReadJsonAsync(KimiServerOptions options, int? most = null) =>
        RequestBody.ReadAsync(Context, Math.Min(options.MaxBodyBytes, most ?? int.MaxValue), options.BodyTime, Cancelled);

    public async Task WriteJsonAsync(JsonNode body)
    {
        byte[] bytes = JsonText.Bytes(body);
        Context.Response.ContentType = "application/json; charset=utf-8";
        Context.Response.ContentLength = bytes.Length;
        await Context.Response.Body.WriteAsync(bytes, Context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>Streams events as server-sent events; those without a type have <c>message</c>, which is not written.</summary>
    /// <param name="events">The events.</param>
    /// <param name="filler">What says nothing, for pauses; null where the events fill them themselves.</param>
    public async Task WriteEventsAsync(IAsyncEnumerable<SseItem<string>> events, SseItem<string>? filler)
    {
        BeginStream("text/event-stream");
        await foreach (SseItem<string> item in (filler is { } nothing ? events.FillingPauses(KeepAlive, () => nothing) : events).ConfigureAwait(false))
        {
            string type = item.EventType is ":" or SseParser.EventTypeDefault ? "" : $"event: {item.EventType}\n";
            string name = item.EventType == ":" ? ":" : "data:";
            await WritePieceAsync(Encoding.UTF8.GetBytes($"{type}{name} {item.Data}\n\n")).ConfigureAwait(false);
        }
    }

    /// <summary>Streams one JSON object a line.</summary>
    /// <param name="lines">The objects.</param>
    /// <param name="makeFiller">Makes one that says nothing.</param>
    public async Task WriteLinesAsync(IAsyncEnumerable<JsonObject> lines, Func<JsonObject> makeFiller)
    {
        BeginStream("application/x-ndjson");
        await foreach (JsonObject line in lines.FillingPauses(KeepAlive, makeFiller).ConfigureAwait(false))
        {
            await WritePieceAsync([.. JsonText.Bytes(line), (byte)'\n']).ConfigureAwait(false);
        }
    }

    /// <summary>Proxies and compression in between would collect a stream that does not say what it is.</summary>
    private void BeginStream(string type)
    {
        IHeaderDictionary headers = Context.Response.Headers;
        (headers.ContentType, headers.CacheControl) = (type, "no-cache,no-store");
        headers["X-Accel-Buffering"] = "no";
        Context.Features.GetRequiredFeature<IHttpResponseBodyFeature>().DisableBuffering();
    }

    private async Task WritePieceAsync(byte[] bytes)
    {
        await Context.Response.Body.WriteAsync(bytes, Context.RequestAborted).ConfigureAwait(false);
        await Context.Response.Body.FlushAsync(Context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>What the caller is told of a failure, and the log.</summary>
    public RequestException ErrorOf(Exception failure)
    {
        if (failure is OperationCanceledException && EndOfAnswers.IsCancellationRequested)
        {
            return ShuttingDown();
        }

        RequestException? error = RequestException.Of(failure, Dialect);
        if (error is null)
        {
            ServerLog.Failed(Logger, Id, failure);
            return new RequestException(StatusCodes.Status500InternalServerError, $"The server failed; its log says more about the request {Id}.", code: "internal_error");
        }

        ServerLog.Refused(Logger, Id, error.Status, error.Code ?? "", error.Parameter ?? "");
        return error;
    }
}
