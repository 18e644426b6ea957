// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>What a function returned, as text: texts as they are, everything else as JSON.</summary>
internal static class ToolResultText
{
    /// <exception cref="NotSupportedException">The result has contents that are no text, or no JSON form.</exception>
    public static string Of(FunctionResultContent content)
    {
        try
        {
            return content.Result switch
            {
                null => content.Exception is null ? "" : $"Error: {content.Exception.Message}",
                string text => text,
                JsonElement { ValueKind: JsonValueKind.String } text => text.GetString()!,
                AIContent part => TextOf(part),
                IEnumerable<AIContent> parts => string.Join('\n', parts.Select(TextOf)),
                { } other => CompactJson.Write(other),
            };
        }
        catch (NotSupportedException e)
        {
            throw new NotSupportedException($"The result of the call '{content.CallId}' ({content.Result!.GetType()}) cannot be shown to the model: {e.Message}", e);
        }
    }

    private static string TextOf(AIContent? part) => part is TextContent text
        ? text.Text
        : throw new NotSupportedException(part is null ? "one of its contents is null." : $"it has {part.GetType().Name}, and the model reads text only.");
}
