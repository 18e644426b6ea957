// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using KimiCpu.Chat;
using KimiCpu.Generation;
using Microsoft.Extensions.AI;

namespace KimiCpu.Extensions.AI.Requests;

/// <summary>Declares the tools, and says whether the model may or must call one.</summary>
internal static class ToolsReader
{
    /// <exception cref="NotSupportedException">A tool is no function.</exception>
    /// <exception cref="ArgumentException">A tool is required that is not there.</exception>
    public static GenerationOptions Read(ChatOptions options, GenerationOptions generation)
    {
        generation = generation with { Tools = [.. generation.Tools, .. (options.Tools ?? []).Select(Declare)] };
        return options.ToolMode switch
        {
            null or AutoChatToolMode => generation,
            NoneChatToolMode => generation with { Tools = [] },
            { } mode => throw new NotSupportedException($"ChatOptions.ToolMode ({mode.GetType().Name}): use Auto or None."),
        };
    }

    private static KimiTool Declare(AITool tool) => tool is AIFunctionDeclaration function
        ? new KimiTool(function.Name, string.IsNullOrEmpty(function.Description) ? null : function.Description, function.JsonSchema)
        : throw new NotSupportedException($"ChatOptions.Tools: '{tool.Name}' ({tool.GetType().Name}) is no function. The model runs in this process and there is no service that could host tools; declare an AIFunction.");
}
