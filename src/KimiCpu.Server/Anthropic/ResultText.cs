// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Extensions.AI.Requests;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.Anthropic;

/// <summary>The content of a <c>tool_result</c> as the model reads it.</summary>
internal static class ResultText
{
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
            else if (block.Fields("source") is not { } source)
            {
                text.AddLine(NotShown.Of(type));
            }
            else if (source.Text("type") == "text")
            {
                // A document that is a text.
                text.Add(source.RequiredText("data"));
            }
            else
            {
                text.AddLine(Named(type, source));
            }
        }

        return text.ToString();
    }

    private static string Named(string type, JsonFields source)
    {
        string kind = source.Text("media_type") ?? type;
        return source.Text("data") is { } data ? NotShown.Base64(kind, data)
            : source.Text("url") is { } url ? NotShown.Uri(kind, url)
            : NotShown.Of(kind);
    }
}
