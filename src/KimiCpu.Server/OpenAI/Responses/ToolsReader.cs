// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

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

    public static ToolChoice Choice(JsonFields fields, IReadOnlyList<KimiTool> tools) => ToolChoiceReader.Read(fields, tools, choice =>
        choice.RequiredText("type") is var type and not "function"
            ? throw choice.Unsupported("type", $"a choice is none, auto, required, or {{\"type\": \"function\", \"name\": …}}; found '{type}'.")
            : choice);

    private static KimiTool Tool(JsonFields tool, RequestParts parts) => tool.RequiredText("type") is var type && type == "function"
        ? parts.Tool(tool, "name", "description", "parameters")
        : throw tool.Unsupported("type", $"tools are functions, and the server has none of its own; found '{type}'.");
}
