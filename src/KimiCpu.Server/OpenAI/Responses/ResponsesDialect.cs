// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json.Nodes;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Errors as OpenAI's interface writes them; what is too long for the context is called <c>input</c> here.</summary>
internal sealed class ResponsesDialect : IDialect
{
    public static ResponsesDialect Instance { get; } = new();

    public JsonObject Error(RequestException error, string requestId)
    {
        JsonObject body = OpenAIDialect.Instance.Error(error, requestId);
        if (error is { Code: "context_length_exceeded", Parameter: "messages" })
        {
            body["error"]!["param"] = "input";
        }

        return body;
    }
}
