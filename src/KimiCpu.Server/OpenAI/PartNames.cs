// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>What stands in a tool's result for a part that is no text, of <c>/v1/chat/completions</c> and <c>/v1/responses</c>.</summary>
internal static class PartNames
{
    /// <summary>Where such parts have their data, or where it is: beside the type, or in the object that is named after it.</summary>
    private static readonly string[] s_places = ["url", "image_url", "file_data", "file_url"];

    public static string Of(JsonFields part, string type)
    {
        JsonFields inner = part.Get(type) is { ValueKind: JsonValueKind.Object } ? part.Fields(type)!.Value : part;
        string? uri = s_places.Select(name => inner.Get(name) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null).FirstOrDefault(text => text is { Length: > 0 });
        return uri is null ? NotShown.Of(type) : NotShown.Uri(type is "image_url" or "input_image" ? "image" : type is "input_file" ? "file" : type, uri);
    }
}
