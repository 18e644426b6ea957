// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>The content of a <c>tool_result</c> as the model reads it.</summary>
internal static class ResultText
{
    private const int MostParts = 4096;

    public static string Of(IEnumerable<JsonFields> blocks)
    {
        var text = new PartsText();
        foreach (JsonFields block in blocks)
        {
            string type = block.RequiredText("type");
            if (type == "text")
            {
                text.Add(block.RequiredText("text"));
            }
            else if (type == "search_result")
            {
                // Its source is where it was found.
                text.AddLine($"{block.Text("title")} ({block.Text("source")})");
                text.AddLine(Of(Parts(block)));
            }
            else
            {
                text.AddLine(OfSource(type, block.Fields("source")));
            }
        }

        return text.ToString();
    }

    private static string OfSource(string type, JsonFields? given) => given is not { } source ? NotShown.Of(type) : source.Text("type") switch
    {
        "text" => source.RequiredText("data"),
        "content" when source.Get("content") is { ValueKind: JsonValueKind.String } text => text.GetString()!,
        "content" => Of(Parts(source)),
        _ => Named(type, source),
    };

    private static IEnumerable<JsonFields> Parts(JsonFields block) => block.Items("content", MostParts).Select(part => new JsonFields(part.Element, part.Path));

    private static string Named(string type, JsonFields source)
    {
        string kind = source.Text("media_type") ?? type;
        return source.Text("data") is { } data ? NotShown.Base64(kind, data)
            : source.Text("url") is { } url ? NotShown.Uri(kind, url)
            : NotShown.Of(kind);
    }
}
