// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>Errors as Anthropic's interface writes them.</summary>
internal sealed class AnthropicDialect : IDialect
{
    private const int Overloaded = 529;

    public static AnthropicDialect Instance { get; } = new();

    public string RequestIdHeader => "request-id";

    public int StatusOf(RequestException error) => error.Status == StatusCodes.Status503ServiceUnavailable ? Overloaded : error.Status;

    public JsonObject Error(RequestException error, string requestId) => new()
    {
        ["type"] = "error",
        ["error"] = new JsonObject
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
        },
        ["request_id"] = requestId,
    };
}
