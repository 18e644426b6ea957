// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Diagnostics;
using System.Globalization;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KimiCpu.Server.Http;

/// <summary>
/// What every request passes through: it gets an id, has to come from somewhere that may ask, and to find room; and whatever
/// goes wrong becomes an error in the dialect's own form.
/// </summary>
internal sealed class RequestGate
{
    private readonly KimiServerOptions _options;
    private readonly ServerEnd _end;
    private readonly ILogger _logger;
    private readonly ApiKeys _keys;
    private int _running;

    /// <param name="options">Limits, keys, origins.</param>
    /// <param name="end">When requests are not taken any more.</param>
    /// <param name="loggers">For one line a request.</param>
    public RequestGate(IOptions<KimiServerOptions> options, ServerEnd end, ILoggerFactory loggers)
    {
        (_options, _end, _logger) = (options.Value, end, loggers.CreateLogger("KimiCpu.Server"));
        _keys = new ApiKeys(_options.ApiKeys);
    }

    /// <summary>A handler behind the gate.</summary>
    /// <param name="dialect">How errors are written.</param>
    /// <param name="handle">Answers; may throw.</param>
    /// <param name="counts">Whether it is one of the requests that there may be only so many of.</param>
    public RequestDelegate Guard(Func<HttpRequest, IDialect> dialect, Func<ServerCall, Task> handle, bool counts = true) => async context =>
    {
        IDialect spoken = dialect(context.Request);
        long start = Stopwatch.GetTimestamp();
        string id = $"req_{Guid.NewGuid():N}";
        context.Response.Headers["x-request-id"] = context.Response.Headers[spoken.RequestIdHeader] = id;
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _end.EndOfAnswers);
        var call = new ServerCall(context, spoken, id, _logger, _options.StreamKeepAlive, ends.Token, _end.EndOfAnswers);
        bool counted = false;
        try
        {
            CheckOrigin(context.Request);
            _keys.Check(context.Request);
            counted = counts && Enter();
            await handle(call).ConfigureAwait(false);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            // Whatever it was, there is nobody to tell.
            ServerLog.Gone(_logger, id);
        }
        catch (Exception e)
        {
            await FailAsync(call, e).ConfigureAwait(false);
        }
        finally
        {
            if (counted)
            {
                Interlocked.Decrement(ref _running);
            }

            ServerLog.Answered(_logger, id, context.Request.Method, context.GetEndpoint()?.DisplayName ?? "", context.Response.StatusCode, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
        }
    };

    private bool Enter()
    {
        if (_end.IsStopping)
        {
            throw ServerCall.ShuttingDown();
        }

        if (Interlocked.Increment(ref _running) > _options.MaxRequests)
        {
            Interlocked.Decrement(ref _running);
            throw new RequestException(StatusCodes.Status429TooManyRequests, $"The server is answering {_options.MaxRequests} requests already. Try again later.", code: "rate_limit_exceeded") { RetryAfter = 2 };
        }

        return true;
    }

    /// <summary>A page that a browser shows can send requests to any address, this machine's own included.</summary>
    private void CheckOrigin(HttpRequest request)
    {
        string? origin = request.Headers.Origin;
        if (string.IsNullOrEmpty(origin) || IsOwn(origin, request) || _options.AllowedOrigins.Contains(origin, StringComparer.OrdinalIgnoreCase))
        {
            return;
        }

        throw new RequestException(StatusCodes.Status403Forbidden, "Pages of this origin may not ask this server; KimiServerOptions.AllowedOrigins lists those that may.", code: "origin_not_allowed");
    }

    /// <summary>Whether a page is of this server: behind a proxy its scheme is another, and no page of another server is at this host.</summary>
    private static bool IsOwn(string origin, HttpRequest request) =>
        origin.Equals($"http://{request.Host}", StringComparison.OrdinalIgnoreCase) || origin.Equals($"https://{request.Host}", StringComparison.OrdinalIgnoreCase);

    private static async Task FailAsync(ServerCall call, Exception failure)
    {
        HttpResponse response = call.Context.Response;
        RequestException error = call.ErrorOf(failure);
        if (response.HasStarted)
        {
            // A stream tells of its failure itself; here the rest cannot be saved.
            call.Context.Abort();
            return;
        }

        response.StatusCode = call.Dialect.StatusOf(error);
        if (error.RetryAfter is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        }

        if (error.Status is StatusCodes.Status413PayloadTooLarge or StatusCodes.Status408RequestTimeout)
        {
            // No other request can follow a body whose end may never be read.
            response.Headers.Connection = "close";
        }

        if (error.Status == StatusCodes.Status401Unauthorized)
        {
            response.Headers.WWWAuthenticate = "Bearer";
        }

        await call.WriteJsonAsync(call.Dialect.Error(error, call.Id)).ConfigureAwait(false);
        if (error.Status == StatusCodes.Status413PayloadTooLarge)
        {
            await response.Body.FlushAsync(call.Context.RequestAborted).ConfigureAwait(false);
            await RequestBody.DrainAsync(call.Context).ConfigureAwait(false);
        }
    }
}
