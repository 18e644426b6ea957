// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

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
                IEnumerable<AIContent> parts => TextOf([.. parts]),
                JsonElement saved when Saved(saved) is { } parts => TextOf(parts),
                { } other => CompactJson.Write(other),
            };
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // What its getters throw may be anything.
            throw new NotSupportedException($"The result of the call '{content.CallId}' ({content.Result!.GetType()}) cannot be shown to the model: {e.Message}", e);
        }
    }

    /// <summary>
    /// The contents that were written as JSON together with their conversation; null for any other JSON. Functions may name kinds of their own results by
    /// <c>$type</c>, too, and what contents do not hold would be lost.
    /// </summary>
    private static AIContent[]? Saved(JsonElement json)
    {
        JsonElement[] parts = json.ValueKind == JsonValueKind.Array ? [.. json.EnumerateArray()] : [json];
        if (parts.Length == 0 || !parts.All(HasFormOfContent))
        {
            return null;
        }

        try
        {
            return [.. parts.Select(p => p.Deserialize(CompactJson.Content)!)];
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or ArgumentException or FormatException)
        {
            // As of a uri that is none.
            return null;
        }
    }

    private static bool HasFormOfContent(JsonElement json)
    {
        if (json.ValueKind != JsonValueKind.Object || !json.TryGetProperty("$type", out JsonElement type) || type.ValueKind != JsonValueKind.String)
        {
            return false;
        }

        (string[] required, string[] optional) = type.GetString() switch
        {
            "text" => (["text"], []),
            "error" => (["message"], ["errorCode", "details"]),
            "data" => (["uri"], ["name"]),
            "uri" => (["uri", "mediaType"], []),
            _ => ((string[])[], (string[])[]),
        };
        return required.Length > 0
            && required.All(name => json.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String)
            && json.EnumerateObject().All(p => p.Name is "$type" or "annotations" or "additionalProperties" || required.Contains(p.Name) || optional.Contains(p.Name));
    }

    /// <summary>Without contents it is any empty list, which nothing tells from this one once the conversation was saved.</summary>
    private static string TextOf(AIContent?[] parts) => parts.Length == 0 ? "[]" : string.Join('\n', parts.Select(TextOf));

    private static string TextOf(AIContent? part) => part switch
    {
        TextContent text => text.Text,
        ErrorContent error => Failure(error.Message),
        DataContent data => NotShown.Data(data.MediaType, data.Data.Length),
        UriContent { Uri: { IsAbsoluteUri: true, Scheme: "data" } } data => NotShown.InUri(data.MediaType),
        UriContent uri => NotShown.At(uri.MediaType, $"{uri.Uri}"),
        null => throw new NotSupportedException("one of its contents is null."),
        _ => throw new NotSupportedException($"it has {part.GetType().Name}, and the model reads text only."),
    };

    private static string Failure(string message) => $"Error: {message}";
}
