// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Errors as OpenAI's interface writes them, with the names that this endpoint has for its fields.</summary>
internal sealed class ResponsesDialect : IDialect
{
    public static ResponsesDialect Instance { get; } = new();

    public JsonObject Error(RequestException error, string requestId)
    {
        JsonObject body = OpenAIDialect.Instance.Error(error, requestId);
        body["error"]!["param"] = error.Parameter switch
        {
            "messages" => "input",
            "max_tokens" => "max_output_tokens",
            { } same => same,
            null => null,
        };
        return body;
    }
}
