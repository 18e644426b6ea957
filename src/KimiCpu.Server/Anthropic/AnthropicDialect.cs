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

    public static AnthropicDialect Instance { get; } = new();

    /// <summary>Whether a request names a version of this interface, as its clients do at every path.</summary>
    public static bool IsMeantBy(HttpRequest request) => request.Headers.ContainsKey("anthropic-version");

    public string RequestIdHeader => "request-id";

    public int StatusOf(RequestException error) => error.Status == StatusCodes.Status503ServiceUnavailable ? Overloaded : error.Status;

    /// <summary>
    /// As this interface itself words it, since its errors have no codes: of the second sentence clients read the numbers and ask for a shorter answer.
    /// An answer has a token at least, so a prompt may have all but one.
    /// </summary>
    public (string Message, string? Parameter) TooLong(ContextOverflow overflow) => (
        overflow.IsOfPromptAlone
            ? overflow.With($"prompt is too long: {overflow.Prompt} tokens > {overflow.Limit - 1} maximum. Shorten the conversation.")
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
