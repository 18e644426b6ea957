// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;
using Microsoft.AspNetCore.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Errors as OpenAI's interface writes them.</summary>
/// <param name="prompt">The field that holds the prompt.</param>
internal sealed class OpenAIDialect(string prompt) : IDialect
{
    public static OpenAIDialect Instance { get; } = new("messages");

    /// <summary>Of <c>/v1/completions</c>.</summary>
    public static OpenAIDialect Completions { get; } = new("prompt");

    public (string Message, string? Parameter) TooLong(ContextOverflow overflow)
    {
        string fewer = overflow.IsOfPromptAlone ? "" : " or completion (max_tokens)";
        return (
            overflow.With($"This model's maximum context length is {overflow.Limit} tokens. However, you requested {overflow.Needed} tokens ({overflow.Prompt} in the {prompt}, {overflow.Answer} in the completion). Please reduce the length of the {prompt}{fewer}."),
            prompt);
    }

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
