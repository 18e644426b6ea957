// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Text.Json;
using KimiCpu.Chat;
using KimiCpu.Constraints;
using KimiCpu.Server.Http;

namespace KimiCpu.Server.OpenAI;

/// <summary>Reads <c>tool_choice</c>: a word, or an object that names a function.</summary>
internal static class ToolChoiceReader
{
    /// <param name="fields">Of the request.</param>
    /// <param name="tools">Of the request.</param>
    /// <param name="function">Checks the object and finds the part of it that has the name, which is where interfaces differ.</param>
    public static ToolChoice Read(JsonFields fields, IReadOnlyList<KimiTool> tools, Func<JsonFields, JsonFields> function)
    {
        if (fields.Get("tool_choice") is not { } choice)
        {
            return ToolChoice.Auto;
        }

        if (choice.ValueKind == JsonValueKind.Object)
        {
            JsonFields named = function(fields.RequiredFields("tool_choice"));
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
}
