// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using Microsoft.Extensions.AI;
using ModelContextProtocol.Client;

namespace KimiCpu.Samples.Agent;

/// <summary>A tool of a server whose failures the model is told as the server words them, and not in the protocol's envelope.</summary>
/// <param name="tool">Calls the server.</param>
public sealed class McpFunction(McpClientTool tool) : DelegatingAIFunction(tool)
{
    /// <inheritdoc/>
    protected override async ValueTask<object?> InvokeCoreAsync(AIFunctionArguments arguments, CancellationToken cancellationToken)
    {
        object? result = await base.InvokeCoreAsync(arguments, cancellationToken);
        return result is JsonElement { ValueKind: JsonValueKind.Object } answer
            && answer.TryGetProperty("isError", out JsonElement failed) && failed.ValueKind == JsonValueKind.True
            && answer.TryGetProperty("content", out JsonElement content)
                ? Message(content)
                : result;
    }

    private static string Message(JsonElement content)
    {
        string[] texts = [.. content.EnumerateArray().Where(c => c.TryGetProperty("text", out _)).Select(c => $"{c.GetProperty("text")}")];
        return texts.Length > 0 ? string.Join('\n', texts) : "The tool failed and does not say why.";
    }
}
