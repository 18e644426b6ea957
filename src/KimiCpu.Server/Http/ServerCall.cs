// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Net.ServerSentEvents;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace KimiCpu.Server.Http;

/// <summary>One request on its way: where it came from, how errors are written, and what ends it.</summary>
/// <param name="Context">Of ASP.NET Core.</param>
/// <param name="Dialect">How errors are written.</param>
/// <param name="Id">Of the request, in the log and in <c>x-request-id</c>.</param>
/// <param name="Logger">Of the server.</param>
/// <param name="Cancelled">When the client has gone away, or answers have to end.</param>
/// <param name="EndOfAnswers">When answers have to end since the server stops.</param>
internal sealed record ServerCall(HttpContext Context, IDialect Dialect, string Id, ILogger Logger, CancellationToken Cancelled, CancellationToken EndOfAnswers)
{
    /// <summary>Whether nobody waits for the answer any more.</summary>
    public bool IsGone => Context.RequestAborted.IsCancellationRequested;

    public static RequestException ShuttingDown() =>
        new(StatusCodes.Status503ServiceUnavailable, "The server is shutting down.", code: "shutting_down") { RetryAfter = 10 };

    public Task<JsonDocument> ReadJsonAsync(int maxBytes) => RequestBody.ReadAsync(Context, maxBytes);

    public async Task WriteJsonAsync(JsonNode body)
    {
        byte[] bytes = JsonText.Bytes(body);
        Context.Response.ContentType = "application/json; charset=utf-8";
        Context.Response.ContentLength = bytes.Length;
        await Context.Response.Body.WriteAsync(bytes, Context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>Streams events as server-sent events; those without a type have <c>message</c>, which is not written.</summary>
    public Task WriteEventsAsync(IAsyncEnumerable<SseItem<string>> events)
    {
        // Proxies in between would collect the stream otherwise.
        Context.Response.Headers["X-Accel-Buffering"] = "no";
        return TypedResults.ServerSentEvents(events).ExecuteAsync(Context);
    }

    /// <summary>Streams one JSON object a line.</summary>
    public async Task WriteLinesAsync(IAsyncEnumerable<JsonObject> lines)
    {
        Context.Response.ContentType = "application/x-ndjson";
        await foreach (JsonObject line in lines.ConfigureAwait(false))
        {
            await Context.Response.Body.WriteAsync((byte[])[.. JsonText.Bytes(line), (byte)'\n'], Context.RequestAborted).ConfigureAwait(false);
            await Context.Response.Body.FlushAsync(Context.RequestAborted).ConfigureAwait(false);
        }
    }

    /// <summary>What the caller is told of a failure, and the log.</summary>
    public RequestException ErrorOf(Exception failure)
    {
        if (failure is OperationCanceledException && EndOfAnswers.IsCancellationRequested)
        {
            return ShuttingDown();
        }

        // A text with half of a surrogate pair shows only when it is read.
        RequestException? error = RequestException.Of(failure)
            ?? (failure is InvalidOperationException && failure.Source?.StartsWith("System.Text.Json", StringComparison.Ordinal) == true ? new RequestException(StatusCodes.Status400BadRequest, "A text of the body is no valid Unicode.") : null);
        if (error is null)
        {
            ServerLog.Failed(Logger, Id, failure);
            return new RequestException(StatusCodes.Status500InternalServerError, $"The server failed; its log says more about the request {Id}.", code: "internal_error");
        }

        ServerLog.Refused(Logger, Id, error.Status, error.Code ?? "", error.Parameter ?? "");
        return error;
    }
}
