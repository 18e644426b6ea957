// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Net.Http.Headers;

namespace KimiCpu.Server.Http;

/// <summary>Reads the JSON of a request, of bounded size and in UTF-8. All texts in it are valid.</summary>
internal static class RequestBody
{
    private const long MostDrained = 256L << 20;
    private static readonly TimeSpan s_drainTime = TimeSpan.FromSeconds(2);

    /// <param name="context">Of the request.</param>
    /// <param name="maxBytes">Most bytes of it.</param>
    /// <param name="maxTime">How long it may take to arrive.</param>
    /// <param name="cancellationToken">When nobody waits for an answer any more, or the server stops.</param>
    /// <exception cref="RequestException">It is too large or too slow, in another encoding, or no JSON.</exception>
    /// <exception cref="OperationCanceledException">The token was cancelled before it had arrived.</exception>
    public static async Task<JsonDocument> ReadAsync(HttpContext context, int maxBytes, TimeSpan maxTime, CancellationToken cancellationToken)
    {
        HttpRequest request = context.Request;
        if (!string.IsNullOrEmpty(request.Headers.ContentEncoding) && request.Headers.ContentEncoding != "identity")
        {
            throw new RequestException(StatusCodes.Status415UnsupportedMediaType, "The body has a Content-Encoding; send it as it is.");
        }

        if (MediaTypeHeaderValue.TryParse(request.ContentType, out MediaTypeHeaderValue? type) && type.Charset.HasValue && !type.Charset.Equals("utf-8", StringComparison.OrdinalIgnoreCase))
        {
            throw new RequestException(StatusCodes.Status415UnsupportedMediaType, $"The body has to be in UTF-8; its Content-Type says {type.Charset}.");
        }

        byte[] bytes = await ReadBytesAsync(context, maxBytes, maxTime, cancellationToken).ConfigureAwait(false);
        Memory<byte> text = bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? bytes.AsMemory(Encoding.UTF8.Preamble.Length) : bytes;
        if (!Utf8.IsValid(text.Span))
        {
            throw new RequestException(StatusCodes.Status400BadRequest, "The body is not valid UTF-8.");
        }

        SurrogateHalves.Replace(text.Span);
        try
        {
            return JsonDocument.Parse(text);
        }
        catch (JsonException e)
        {
            throw new RequestException(StatusCodes.Status400BadRequest, e.Message.Contains("depth", StringComparison.Ordinal) ? "The body's JSON has more than 64 levels." : $"The body is not valid JSON, at line {e.LineNumber + 1}, byte {e.BytePositionInLine}.");
        }
    }

    private static async Task<byte[]> ReadBytesAsync(HttpContext context, int maxBytes, TimeSpan maxTime, CancellationToken cancellationToken)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            // Counted here; the server itself would close the connection at once.
            limit.MaxRequestBodySize = null;
        }

        if (context.Request.ContentLength > maxBytes)
        {
            throw TooLarge(maxBytes);
        }

        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        end.CancelAfter(maxTime);
        using var body = new MemoryStream();
        byte[] piece = new byte[16384];
        try
        {
            int read;
            while ((read = await context.Request.Body.ReadAsync(piece, end.Token).ConfigureAwait(false)) > 0)
            {
                if (body.Length + read > maxBytes)
                {
                    throw TooLarge(maxBytes);
                }

                body.Write(piece, 0, read);
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new RequestException(StatusCodes.Status408RequestTimeout, FormattableString.Invariant($"The body had not arrived after {maxTime.TotalSeconds:0.###} seconds, with {body.Length:N0} bytes until then."));
        }

        return body.ToArray();
    }

    /// <summary>Reads what is still on its way of a body that has been refused, for a while: most clients look for an answer once they have sent everything.</summary>
    public static async Task DrainAsync(HttpContext context)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        end.CancelAfter(s_drainTime);
        byte[] piece = new byte[16384];
        try
        {
            for (long drained = 0; drained < MostDrained;)
            {
                int read = await context.Request.Body.ReadAsync(piece, end.Token).ConfigureAwait(false);
                if (read == 0)
                {
                    return;
                }

                drained += read;
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or BadHttpRequestException)
        {
            // Nobody is there who would wait for it.
            _ = e;
        }
    }

    private static RequestException TooLarge(int maxBytes) =>
        new(StatusCodes.Status413PayloadTooLarge, $"The body has more than the {maxBytes:N0} bytes that this server takes.");
}
