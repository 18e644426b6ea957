// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>Errors as Anthropic's interface writes them.</summary>
internal sealed class AnthropicDialect : IDialect
{
    /// <summary>The code of errors upon which clients send a conversation whole, since the server keeps none.</summary>
    public const string ThreadUnsupported = "thread_unsupported_request";

    private const int Overloaded = 529;

    /// <summary>Tokens of an answer below which coding agents ask for none, and give up unless they hear that it is the prompt that is too long.</summary>
    private const int LeastAnswer = 4000;

    /// <summary>What <see cref="LeastAnswer"/> takes of a small context at most: a part of so many.</summary>
    private const int LeastPart = 16;

    public static AnthropicDialect Instance { get; } = new();

    /// <summary>Whether a request names a version of this interface, as its clients do at every path.</summary>
    public static bool IsMeantBy(HttpRequest request) => request.Headers.ContainsKey("anthropic-version");

    public string RequestIdHeader => "request-id";

    public int StatusOf(RequestException error) => error.Status == StatusCodes.Status503ServiceUnavailable ? Overloaded : error.Status;

    /// <summary>Most tokens that clients may let a prompt have, so that an answer is worth to be asked for. A longer one is answered too where its answer fits.</summary>
    /// <param name="limit">Tokens that there are for both.</param>
    public static int MostOfPrompt(int limit) => limit - Math.Clamp(limit / LeastPart, 1, LeastAnswer);

    /// <summary>
    /// As this interface itself words it, since its errors have no codes: of the second sentence clients read the numbers and ask for a shorter answer;
    /// upon the first one they shorten the conversation by the difference of its numbers, and ask for an answer behind it.
    /// </summary>
    public (string Message, string? Parameter) TooLong(ContextOverflow overflow) => (
        overflow.Prompt > MostOfPrompt(overflow.Limit)
            ? overflow.With($"prompt is too long: {overflow.Prompt} tokens > {MostOfPrompt(overflow.Limit)} maximum. Shorten the conversation.")
            : overflow.With($"input length and `max_tokens` exceed context limit: {overflow.Prompt} + {overflow.Answer} > {overflow.Limit}, decrease input length or `max_tokens` and try again."),
        null);

    public JsonObject Error(RequestException error, string requestId)
    {
        var described = new JsonObject
        {
            ["type"] = error.Status switch
            {
                StatusCodes.Status401Unauthorized => "authentication_error",
                StatusCodes.Status403Forbidden => "permission_error",
                StatusCodes.Status404NotFound => "not_found_error",
                StatusCodes.Status413PayloadTooLarge => "request_too_large",
                StatusCodes.Status429TooManyRequests => "rate_limit_error",
                StatusCodes.Status503ServiceUnavailable => "overloaded_error",
                StatusCodes.Status504GatewayTimeout => "timeout_error",
                >= 500 => "api_error",
                _ => "invalid_request_error",
            },
            ["message"] = error.Parameter is { } field && !error.Message.Contains(field, StringComparison.Ordinal) ? $"{field}: {error.Message}" : error.Message,
        };
        if (error.Code == ThreadUnsupported)
        {
            described["details"] = new JsonObject { ["error_code"] = ThreadUnsupported };
        }

        return new JsonObject { ["type"] = "error", ["error"] = described, ["request_id"] = requestId };
    }
}
