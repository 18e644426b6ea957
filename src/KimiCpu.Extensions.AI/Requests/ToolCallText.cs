// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// Calls of the conversation as the model is shown them. Its own calls keep the text that it wrote, so that the cache knows
/// them again; unless someone has changed the arguments since.
/// </summary>
internal static class ToolCallText
{
    public static KimiToolCall Of(FunctionCallContent call)
    {
        string arguments = call.Arguments is null ? "{}" : JsonSerializer.Serialize(call.Arguments, CompactJson.Arguments);
        if (call.RawRepresentation is KimiToolCall own && own.Name == call.Name && (call.Exception is not null || Same(own.Arguments, arguments)))
        {
            arguments = own.Arguments;
        }

        return new KimiToolCall(call.CallId, call.Name, arguments);
    }

    private static bool Same(string own, string now)
    {
        using JsonDocument before = JsonDocument.Parse(own);
        using JsonDocument after = JsonDocument.Parse(now);
        return JsonElement.DeepEquals(before.RootElement, after.RootElement);
    }
}
