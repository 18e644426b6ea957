// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Generation;
using KimiCpu.Server.Answers;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI.Responses;

/// <summary>Reads <c>tools</c> and <c>tool_choice</c>, which are flatter here than those of <c>/v1/chat/completions</c>.</summary>
internal static class ToolsReader
{
    public static IReadOnlyList<KimiTool> Tools(JsonFields fields, RequestParts parts) =>
        RequestParts.Distinct([.. fields.Items("tools", parts.Options.MaxTools).Select(t => Tool(new JsonFields(t.Element, t.Path), parts))]);

    public static ToolChoice Choice(JsonFields fields, IReadOnlyList<KimiTool> tools)
    {
        if (fields.Get("tool_choice") is not { } choice)
        {
            return ToolChoice.Auto;
        }

        if (choice.ValueKind == JsonValueKind.Object)
        {
            JsonFields named = fields.RequiredFields("tool_choice");
            if (named.RequiredText("type") is var type and not "function")
            {
                throw named.Unsupported("type", $"a choice is none, auto, required, or {{\"type\": \"function\", \"name\": …}}; found '{type}'.");
            }

            string name = named.RequiredText("name");
            return tools.Any(t => t.Name == name) ? ToolChoice.Named(name) : throw named.Invalid("name", "the name of one of the tools");
        }

        return fields.Text("tool_choice") switch
        {
            "none" => ToolChoice.None,
            "auto" => ToolChoice.Auto,
            "required" when tools.Count > 0 => ToolChoice.Required,
            "required" => throw fields.Unsupported("tool_choice", "there are no tools that could be called."),
            _ => throw fields.Invalid("tool_choice", "none, auto, required, or the function to call"),
        };
    }

    private static KimiTool Tool(JsonFields tool, RequestParts parts) => tool.RequiredText("type") is var type && type == "function"
        ? parts.Tool(tool, "name", "description", "parameters")
        : throw tool.Unsupported("type", $"tools are functions, and the server has none of its own; found '{type}'.");
}
