// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>
/// What a function returned, as text: texts as they are, everything else as JSON. Of data that is no text it says what it is: the model asked for it unaware of what
/// would come, and the loop in which it calls functions would end.
/// </summary>
internal static class ToolResultText
{
    /// <exception cref="NotSupportedException">The result has contents of another kind, or no JSON form.</exception>
    public static string Of(FunctionResultContent content)
    {
        try
        {
            return content.Result switch
            {
                null => content.Exception is null ? "" : Failure(content.Exception.Message),
                string text => text,
                JsonElement { ValueKind: JsonValueKind.String } text => text.GetString()!,
                AIContent part => TextOf(part),
                IEnumerable<AIContent> parts => TextOf(parts),
                JsonElement saved when IsContent(saved) => TextOf(Content(saved)),
                JsonElement { ValueKind: JsonValueKind.Array } saved when saved.GetArrayLength() > 0 && saved.EnumerateArray().All(IsContent) => TextOf(saved.EnumerateArray().Select(Content)),
                { } other => CompactJson.Write(other),
            };
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // What its getters throw may be anything.
            throw new NotSupportedException($"The result of the call '{content.CallId}' ({content.Result!.GetType()}) cannot be shown to the model: {e.Message}", e);
        }
    }

    /// <summary>Whether it is a content that was written as JSON together with its conversation.</summary>
    private static bool IsContent(JsonElement json) =>
        json.ValueKind == JsonValueKind.Object && json.TryGetProperty("$type", out JsonElement type) && type.ValueKind == JsonValueKind.String && type.GetString() is "text" or "error" or "data" or "uri";

    private static AIContent? Content(JsonElement json) => json.Deserialize(CompactJson.Content);

    private static string TextOf(IEnumerable<AIContent?> parts) => string.Join('\n', parts.Select(TextOf));

    private static string TextOf(AIContent? part) => part switch
    {
        TextContent text => text.Text,
        ErrorContent error => Failure(error.Message),
        DataContent data => string.Create(CultureInfo.InvariantCulture, $"({data.MediaType}, {data.Data.Length:N0} bytes, which this model is not shown)"),
        UriContent uri => $"({uri.MediaType} at {uri.Uri}, which this model is not shown)",
        null => throw new NotSupportedException("one of its contents is null."),
        _ => throw new NotSupportedException($"it has {part.GetType().Name}, and the model reads text only."),
    };

    private static string Failure(string message) => $"Error: {message}";
}
