// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Errors as OpenAI's interface writes them.</summary>
internal sealed class OpenAIDialect : IDialect
{
    public static OpenAIDialect Instance { get; } = new();

    public JsonObject Error(RequestException error, string requestId) => new()
    {
        ["error"] = new JsonObject
        {
            ["message"] = error.Message,
            ["type"] = error.Status switch
            {
                StatusCodes.Status401Unauthorized => "authentication_error",
                StatusCodes.Status403Forbidden => "permission_error",
                StatusCodes.Status429TooManyRequests => "rate_limit_error",
                >= 500 => "server_error",
                _ => "invalid_request_error",
            },
            ["param"] = error.Parameter,
            ["code"] = error.Code,
        },
    };
}
